package stack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/smtp"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/minio/minio-go/v7"
	"golang.org/x/oauth2"

	"github.com/bulkexport/bulkexport/deploy/devstack/internal/parts"
	"github.com/bulkexport/bulkexport/internal/demodata"
)

// The gateway runs as a child of this very binary.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == parts.S3Command {
		if err := parts.ServeS3(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func start(t *testing.T, dir string) *Stack {
	t.Helper()
	s, err := Start(t.Context(), Options{Dir: dir, Say: t.Logf, Data: &demodata.Options{
		Seed: 1, Conversations: demodata.Volume{Rows: 50}, Documents: demodata.Volume{Rows: 6},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// folder is one that the database's own user may enter.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "stack-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func vars(s *Stack) map[string]string {
	m := map[string]string{}
	for _, line := range s.Env() {
		name, value, _ := strings.Cut(line, "=")
		m[name] = value
	}
	return m
}

// One stack serves all that does not need a fresh one.
func TestStack(t *testing.T) {
	dir := folder(t)
	s := start(t, dir)
	env := vars(s)
	t.Run("second instance", func(t *testing.T) {
		if _, err := Start(t.Context(), Options{Dir: dir, Say: t.Logf}); !errors.Is(err, ErrInUse) {
			t.Errorf("a second instance: %v", err)
		}
	})
	t.Run("least privilege", func(t *testing.T) { leastPrivilege(t, env["SOURCE_DATABASE_URL"]) })
	t.Run("mail", func(t *testing.T) { mailArrives(t, env) })
	t.Run("store", func(t *testing.T) { storeWorks(t, s) })
	t.Run("sign-in", func(t *testing.T) { signIn(t, env) })
	t.Run("variables", func(t *testing.T) { envFile(t, s) })

	before := count(t, env)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	s = start(t, dir)
	defer func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	}()
	again := vars(s)
	if got := count(t, again); before != 50 || got != before {
		t.Errorf("%d rows, then %d after a restart", before, got)
	}
	if again["DATABASE_URL"] != env["DATABASE_URL"] || again["API_URL"] != env["API_URL"] {
		t.Error("a restart moved to other addresses")
	}
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	db, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close(context.WithoutCancel(t.Context())) })
	return db
}

func count(t *testing.T, env map[string]string) (n int) {
	t.Helper()
	db := connect(t, env["SOURCE_DATABASE_URL"])
	defer func() { _ = db.Close(t.Context()) }()
	if err := db.QueryRow(t.Context(), `select count(*) from "llm-convo-monitor"`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func leastPrivilege(t *testing.T, url string) {
	db := connect(t, url)
	for sql, allowed := range map[string]bool{
		`select user_id, key, is_active, email from api_keys`:                                                                      true,
		`select * from documents d join documents_doc_groups m on m.document_id = d.id join doc_groups g on g.id = m.doc_group_id`: true,
		`select * from api_keys`:                                     false,
		`update documents set url = url`:                             false,
		`delete from "llm-convo-monitor"`:                            false,
		`set default_transaction_read_only = off; truncate projects`: false,
		`create table mine (a int)`:                                  false,
	} {
		if _, err := db.Exec(t.Context(), sql); (err == nil) != allowed {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

func mailArrives(t *testing.T, env map[string]string) {
	const body = "Subject: =?utf-8?q?H=C3=A9llo?=\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nThe body <b>.\r\n"
	err := smtp.SendMail(strings.TrimPrefix(env["SMTP_URL"], "smtp://"), nil, "a@example.edu", []string{"b@example.edu"}, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	var messages []parts.Message
	if err := json.Unmarshal(get(t, http.DefaultClient, env["DEVSTACK_INBOX_URL"]+"/api/messages"), &messages); err != nil {
		t.Fatal(err)
	}
	if len(messages) != 1 || messages[0].Subject != "Héllo" || messages[0].To[0] != "b@example.edu" {
		t.Errorf("%+v", messages)
	}
	page := get(t, http.DefaultClient, fmt.Sprintf("%s/message/%d", env["DEVSTACK_INBOX_URL"], messages[0].ID))
	if !bytes.Contains(page, []byte("The body &lt;b&gt;.")) {
		t.Errorf("page: %s", page)
	}
}

func get(t *testing.T, c *http.Client, url string) []byte {
	t.Helper()
	res, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v", url, res.Status, err)
	}
	return b
}

func storeWorks(t *testing.T, s *Stack) {
	_, err := s.s3.Client.PutObject(t.Context(), exportsBucket, "a/b", strings.NewReader("hello"), 5, minio.PutObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	link, err := s.s3.Client.PresignedGetObject(t.Context(), exportsBucket, "a/b", time.Minute, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := get(t, http.DefaultClient, link.String()); string(got) != "hello" {
		t.Errorf("%q", got)
	}
	for o := range s.s3.Client.ListObjectsIter(t.Context(), originalsBucket, minio.ListObjectsOptions{Recursive: true}) {
		if o.Err != nil || !strings.HasPrefix(o.Key, "courses/"+demodata.DemoProject+"/") {
			t.Errorf("original %q: %v", o.Key, o.Err)
		}
	}
}

// signIn walks the code flow with PKCE, as a browser would, to the e-mail.
func signIn(t *testing.T, env map[string]string) {
	const callback = "http://127.0.0.1:1/login/callback" // any port of this machine
	issuer := env["OIDC_ISSUER"]
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	var code string
	browser := &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), callback) {
			code = r.URL.Query().Get("code")
			return http.ErrUseLastResponse
		}
		return nil
	}}
	verifier := oauth2.GenerateVerifier()
	conf := oauth2.Config{
		ClientID: env["OIDC_CLIENT_ID"], ClientSecret: env["OIDC_CLIENT_SECRET"], RedirectURL: callback, Scopes: []string{"openid", "email"},
		Endpoint: oauth2.Endpoint{AuthURL: issuer + "auth", TokenURL: issuer + "oauth/token"},
	}
	page, err := browser.Get(conf.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier)))
	if err != nil {
		t.Fatal(err)
	}
	_ = page.Body.Close()
	form := url.Values{"id": {page.Request.URL.Query().Get("authRequestID")}, "username": {demodata.OwnerEmail}, "password": {parts.DemoPassword}}
	res, err := browser.PostForm(issuer+"login/username", form)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	token, err := conf.Exchange(t.Context(), code, oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	info := get(t, conf.Client(t.Context(), token), issuer+"userinfo")
	var who struct{ Email string }
	if err := json.Unmarshal(info, &who); err != nil || who.Email != demodata.OwnerEmail {
		t.Errorf("%s %v", info, err)
	}
}

func envFile(t *testing.T, s *Stack) {
	path := t.TempDir() + "/stack.env"
	if err := s.WriteEnv(path); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"DATABASE_URL", "API_KEY_OWNER", "DEMO_PROJECT", "S3_SOURCE_BUCKET", "OIDC_ISSUER", "SMTP_URL"} {
		if !strings.Contains(string(b), "export "+name+"='") {
			t.Errorf("no %s in\n%s", name, b)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
}

// What a broken-off start leaves is made good by the next.
func TestHalfMadeDatabase(t *testing.T) {
	dir := folder(t)
	if err := os.MkdirAll(dir+"/postgres.new/base", 0o700); err != nil {
		t.Fatal(err)
	}
	s := start(t, dir)
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
}
