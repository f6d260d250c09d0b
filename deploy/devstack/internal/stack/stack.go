// Package stack puts the components together into one that Bulk Export can
// run on: databases, roles, demo data, and the variables that name them all.
package stack

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/bulkexport/bulkexport/deploy/devstack/internal/parts"
	"github.com/bulkexport/bulkexport/internal/demodata"
)

// Options of a stack.
type Options struct {
	Dir     string
	Durable bool // false: faster, and lost with the machine
	// Data fills the tables when they are empty; nil leaves them empty.
	Data *demodata.Options
	Say  func(format string, args ...any)
}

// Stack is a running set of components.
type Stack struct {
	opts     Options
	remember memory
	postgres *parts.Postgres
	queue    *parts.Redis
	roles    *parts.Redis
	s3       *parts.S3
	mail     *parts.Mail
	oidc     *parts.OIDC
	stops    []func() error // in the order of the starts
}

// memory is what a data folder keeps over restarts, so that bookmarks and
// copied variables stay true.
type memory struct {
	Ports            map[string]int `json:"ports"`
	PostgresPassword string         `json:"postgres_password"`
	S3Secret         string         `json:"s3_secret"`
}

// lock is held as long as the process lives: a collected file would lose it.
var lock *os.File

// ErrInUse is the refusal of a second instance on the same data folder.
var ErrInUse = errors.New("another devstack is running on this data folder: stop it first, or choose another with -data")

// Start brings all components up, or none.
func Start(ctx context.Context, o Options) (*Stack, error) {
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	o.Dir = dir
	if err := takeLock(dir); err != nil {
		return nil, err
	}
	s := &Stack{opts: o}
	if err := s.recall(); err != nil {
		return nil, err
	}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func takeLock(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return ErrInUse
	}
	lock = f
	return nil
}

func (s *Stack) path(elem ...string) string {
	return filepath.Join(append([]string{s.opts.Dir}, elem...)...)
}

// recall reads what the folder remembers, and makes what it does not.
func (s *Stack) recall() error {
	m := &s.remember
	if b, err := os.ReadFile(s.path("state.json")); err == nil {
		if err := json.Unmarshal(b, m); err != nil {
			return fmt.Errorf("%s is broken: %w", s.path("state.json"), err)
		}
	}
	if m.Ports == nil {
		*m = memory{Ports: map[string]int{}, PostgresPassword: rand.Text(), S3Secret: rand.Text()}
	}
	for _, name := range []string{"postgres", "queue", "roles", "s3", "smtp", "inbox", "oidc", "api", "api-metrics", "worker-metrics"} {
		port, err := parts.FreePort(m.Ports[name])
		if err != nil {
			return err
		}
		m.Ports[name] = port
	}
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	return os.WriteFile(s.path("state.json"), b, 0o600)
}

// start brings one component up after the other; Stop takes back what there is.
func (s *Stack) start(ctx context.Context) (err error) {
	m := s.remember
	log := func(name string) string { return s.path("log", name+".log") }
	s.postgres, err = parts.StartPostgres(ctx, s.path("postgres"), log("postgres"), m.Ports["postgres"], m.PostgresPassword, s.opts.Durable)
	if err != nil {
		return err
	}
	s.stops = append(s.stops, s.postgres.Stop)
	if s.queue, err = parts.StartRedis(ctx, "queue", s.path("queue"), log("queue"), m.Ports["queue"]); err != nil {
		return err
	}
	s.stops = append(s.stops, s.queue.Stop)
	if s.roles, err = parts.StartRedis(ctx, "roles", s.path("roles"), log("roles"), m.Ports["roles"]); err != nil {
		return err
	}
	s.stops = append(s.stops, s.roles.Stop)
	if s.queue.Embedded() {
		s.opts.Say("redis-server is not installed: an embedded Redis takes its place, which keeps nothing over a restart.")
	}
	if s.s3, err = parts.StartS3(ctx, s.path("s3"), log("s3"), m.Ports["s3"], m.S3Secret, exportsBucket, originalsBucket); err != nil {
		return err
	}
	s.stops = append(s.stops, s.s3.Stop)
	if s.mail, err = parts.StartMail(s.path("mail"), m.Ports["smtp"], m.Ports["inbox"]); err != nil {
		return err
	}
	s.stops = append(s.stops, s.mail.Stop)
	s.oidc, err = parts.StartOIDC(m.Ports["oidc"], demodata.OwnerEmail, demodata.AdminEmail, demodata.OtherEmail, demodata.OperatorEmail)
	if err != nil {
		return err
	}
	s.stops = append(s.stops, s.oidc.Stop)
	return Fill(ctx, Target{
		AdminURL: s.postgres.URL("postgres", m.PostgresPassword, "postgres"), RolePassword: m.PostgresPassword,
		RolesURL: s.roles.URL(), S3: s.s3.Client, Originals: originalsBucket, Data: s.opts.Data, Say: s.opts.Say,
	})
}

// Stop takes everything down, last started first.
func (s *Stack) Stop() error {
	var errs []error
	for i := len(s.stops) - 1; i >= 0; i-- {
		errs = append(errs, s.stops[i]())
	}
	s.stops = nil
	if lock != nil {
		errs = append(errs, lock.Close())
		lock = nil
	}
	return errors.Join(errs...)
}

// Failed is closed over every child: it receives the first that ends by itself.
func (s *Stack) Failed() <-chan error {
	failed := make(chan error, 4)
	for _, c := range []*parts.Redis{s.queue, s.roles} {
		if c.Child != nil {
			go func() { <-c.Child.Done(); failed <- c.Child.Ended() }()
		}
	}
	go func() { <-s.postgres.Child.Done(); failed <- s.postgres.Child.Ended() }()
	go func() { <-s.s3.Child.Done(); failed <- s.s3.Child.Ended() }()
	return failed
}

const (
	exportsBucket   = "exports"
	originalsBucket = "originals"
)

// Env is the stack in the service's own variables, and some for tests.
func (s *Stack) Env() []string {
	m, loop := s.remember, func(name string) string { return fmt.Sprintf("127.0.0.1:%d", s.remember.Ports[name]) }
	env := []string{
		"HTTP_ADDR=" + loop("api"), "METRICS_ADDR=" + loop("api-metrics"), "PUBLIC_URL=http://" + loop("api"),
		"DATABASE_URL=" + s.postgres.URL(serviceRole, m.PostgresPassword, database),
		"SOURCE_DATABASE_URL=" + s.postgres.URL(sourceRole, m.PostgresPassword, database),
		"REDIS_URL=" + s.queue.URL(), "PLATFORM_REDIS_URL=" + s.roles.URL(),
		"OIDC_ISSUER=" + s.oidc.Issuer(), "OIDC_CLIENT_ID=" + parts.OIDCClientID, "OIDC_CLIENT_SECRET=" + parts.OIDCClientSecret,
		"OPERATOR_EMAILS=" + demodata.OperatorEmail, "SMTP_URL=" + s.mail.SMTP(), "MAIL_FROM=exports@example.edu",
		"API_URL=http://" + loop("api"), "DEMO_PROJECT=" + demodata.DemoProject,
		"API_KEY_OWNER=" + demodata.OwnerKey, "API_KEY_ADMIN=" + demodata.AdminKey, "API_KEY_OTHER=" + demodata.OtherKey,
		"DEVSTACK_ADMIN_DATABASE_URL=" + s.postgres.URL("postgres", m.PostgresPassword, "postgres"),
		"DEVSTACK_INBOX_URL=" + s.mail.Inbox(),
	}
	for prefix, bucket := range map[string]string{"S3_": exportsBucket, "S3_SOURCE_": originalsBucket} {
		env = append(env,
			prefix+"ENDPOINT="+s.s3.URL(), prefix+"REGION="+parts.S3Region, prefix+"ADDRESSING=path", prefix+"BUCKET="+bucket,
			prefix+"ACCESS_KEY_ID="+parts.S3AccessKey, prefix+"SECRET_ACCESS_KEY="+m.S3Secret)
	}
	return append(env, "S3_PUBLIC_ENDPOINT="+s.s3.URL())
}

// WorkerEnv differs from Env in the address of the probes.
func (s *Stack) WorkerEnv() []string {
	return append(s.Env(), fmt.Sprintf("METRICS_ADDR=127.0.0.1:%d", s.remember.Ports["worker-metrics"]))
}

// Log is the file that a program's log goes to.
func (s *Stack) Log(name string) string { return s.path("log", name+".log") }

// WriteEnv writes Env in shell syntax, whole or not at all, for the owner alone.
func (s *Stack) WriteEnv(path string) error {
	var b strings.Builder
	for _, line := range s.Env() {
		name, value, _ := strings.Cut(line, "=")
		fmt.Fprintf(&b, "export %s='%s'\n", name, strings.ReplaceAll(value, "'", `'\''`))
	}
	if err := os.WriteFile(path+".new", []byte(b.String()), 0o600); err != nil {
		return fmt.Errorf("stack.env: %w", err)
	}
	return os.Rename(path+".new", path)
}
