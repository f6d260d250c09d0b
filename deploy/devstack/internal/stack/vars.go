package stack

import (
	"github.com/bulkexport/bulkexport/deploy/devstack/internal/oidc"
	"github.com/bulkexport/bulkexport/deploy/devstack/internal/s3"
	"github.com/bulkexport/bulkexport/internal/demodata"
)

const (
	database        = "platform"
	serviceRole     = "bulkexport"
	sourceRole      = "bulkexport_source"
	exportsBucket   = "exports"
	originalsBucket = "originals"
)

func (s *Stack) url(role string) string {
	return s.postgres.URL(role, s.memory.PostgresPassword, database)
}

// Env is the stack in the service's own variables, and some for its clients
// and tests.
func (s *Stack) Env() Env {
	env := Env{
		{"DATABASE_URL", s.url(serviceRole)},
		{"SOURCE_DATABASE_URL", s.url(sourceRole)},
		{"REDIS_URL", s.queue.URL()},
		{"PLATFORM_REDIS_URL", s.roles.URL()},
		{"S3_PUBLIC_ENDPOINT", s.s3.URL()},
		{"OIDC_ISSUER", s.oidc.Issuer()},
		{"OIDC_CLIENT_ID", oidc.ClientID},
		{"OIDC_CLIENT_SECRET", oidc.ClientSecret},
		{"SMTP_URL", s.mail.SMTP()},
		{"MAIL_FROM", "exports@example.edu"},
		{"OPERATOR_EMAILS", demodata.OperatorEmail},
		{"API_KEY_OWNER", demodata.OwnerKey},
		{"API_KEY_ADMIN", demodata.AdminKey},
		{"API_KEY_OTHER", demodata.OtherKey},
		{"DEMO_PROJECT", demodata.DemoProject},
		{"DEVSTACK_ADMIN_DATABASE_URL", s.postgres.AdminURL()},
		{"DEVSTACK_INBOX_URL", s.mail.Inbox()},
	}
	env = append(env, s.bucket("S3_", exportsBucket)...)
	env = append(env, s.bucket("S3_SOURCE_", originalsBucket)...)
	if s.opts.Programs {
		api := s.ports.Addr("api")
		env = append(env, Var{"HTTP_ADDR", api}, Var{"METRICS_ADDR", s.ports.Addr("api-metrics")},
			Var{"PUBLIC_URL", "http://" + api}, Var{"API_URL", "http://" + api})
	}
	return env
}

func (s *Stack) bucket(prefix, name string) Env {
	return Env{
		{prefix + "ENDPOINT", s.s3.URL()},
		{prefix + "REGION", s3.Region},
		{prefix + "ADDRESSING", "path"},
		{prefix + "ACCESS_KEY_ID", s3.AccessKey},
		{prefix + "SECRET_ACCESS_KEY", s.memory.S3Secret},
		{prefix + "BUCKET", name},
	}
}
