package notify

import (
	"bytes"
	"crypto/x509"

	"github.com/wneessen/go-mail"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// Composed is a mail as it would be sent.
func (m *Mailer) Composed(p jobs.Post) (string, error) {
	msg, err := m.compose(p)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	_, err = msg.WriteTo(&b)
	return b.String(), err
}

// Catalogue is all that mails say.
var Catalogue = catalogue

// Trust lets a test's certificate pass.
func (m *Mailer) Trust(roots *x509.CertPool) { m.tls.RootCAs = roots }

// NotOnThisMachine makes STARTTLS necessary, as for any other host.
func (m *Mailer) NotOnThisMachine() { m.policy = mail.TLSMandatory }
