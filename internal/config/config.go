// Package config reads the service's settings from the environment. Every
// secret may also come from a file, named by the same variable with _FILE.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/mail"
	"net/netip"
	"net/url"
	"os"
	"reflect"
	"strings"
	"time"
	_ "time/tzdata" // images without zones know DISPLAY_TZ, too

	"github.com/caarlos0/env/v11"
)

// Config is every setting. The docs' table is made from these tags.
type Config struct {
	HTTPAddr    string `env:"HTTP_ADDR" envDefault:":8080" doc:"where the API listens"`
	MetricsAddr string `env:"METRICS_ADDR" envDefault:":9090" doc:"where probes and metrics listen, for both programs"`
	PublicURL   string `env:"PUBLIC_URL" envDefault:"http://localhost:8080" doc:"how people reach the API; may have a path"`

	TrustedProxies []netip.Prefix `env:"TRUSTED_PROXIES" doc:"addresses or networks of proxies, by comma: who they forward for is believed"`
	AllowedOrigins []string       `env:"ALLOWED_ORIGINS" doc:"origins, by comma, whose pages may call the API with a token of their own"`
	RateLimit      int            `env:"RATE_LIMIT" envDefault:"600" doc:"requests a minute of one person; 0 is no limit"`

	DatabaseURL       string `env:"DATABASE_URL,required" secret:"yes" doc:"the service's own tables, in schema bulkexport; not through a transaction pooler"`
	AutoMigrate       bool   `env:"AUTO_MIGRATE" envDefault:"true" doc:"bring the schema up to date at start"`
	SourceDatabaseURL string `env:"SOURCE_DATABASE_URL" secret:"yes" doc:"the platform's tables; may be a replica, behind a pooler, a read-only role. Default: DATABASE_URL"`
	SourceConns       int    `env:"SOURCE_CONNS" envDefault:"2" doc:"readers an export"`
	SourceReadMBps    int    `env:"SOURCE_READ_MBPS" envDefault:"0" doc:"MB of lines a second that all exports of a worker may read; 0 is no limit"`
	MaxRunning        int    `env:"MAX_RUNNING" envDefault:"0" doc:"exports at once over all workers; 0 is no limit"`

	RedisURL         string `env:"REDIS_URL,required" secret:"yes" doc:"the queue's Redis; also redis-sentinel:// and redis-cluster://, see queue.md"`
	PlatformRedisURL string `env:"PLATFORM_REDIS_URL,required" secret:"yes" doc:"the platform's Redis, with the roles; takes the same URLs"`

	S3Endpoint        string `env:"S3_ENDPOINT,required" doc:"URL of the object store"`
	S3PublicEndpoint  string `env:"S3_PUBLIC_ENDPOINT" doc:"its URL for browsers. Default: S3_ENDPOINT"`
	S3Region          string `env:"S3_REGION" envDefault:"us-east-1" doc:"region of the bucket"`
	S3Addressing      string `env:"S3_ADDRESSING" envDefault:"path" doc:"path or virtual"`
	S3AccessKeyID     string `env:"S3_ACCESS_KEY_ID" doc:"absent: the machine's IAM role"`
	S3SecretAccessKey string `env:"S3_SECRET_ACCESS_KEY" secret:"yes" doc:"secret of the access key"`
	S3Bucket          string `env:"S3_BUCKET,required" doc:"bucket of the exports; private"`
	S3Prefix          string `env:"S3_PREFIX" doc:"put before every key"`

	S3SourceEndpoint        string `env:"S3_SOURCE_ENDPOINT" doc:"URL of the store with the documents' original files. Default: S3_ENDPOINT"`
	S3SourcePublicEndpoint  string `env:"S3_SOURCE_PUBLIC_ENDPOINT" doc:"its URL for browsers. Default: S3_PUBLIC_ENDPOINT where the store is the same, else S3_SOURCE_ENDPOINT"`
	S3SourceRegion          string `env:"S3_SOURCE_REGION" doc:"region of that bucket. Default: S3_REGION"`
	S3SourceAddressing      string `env:"S3_SOURCE_ADDRESSING" doc:"path or virtual. Default: S3_ADDRESSING"`
	S3SourceAccessKeyID     string `env:"S3_SOURCE_ACCESS_KEY_ID" doc:"may only read there. Default: S3_ACCESS_KEY_ID"`
	S3SourceSecretAccessKey string `env:"S3_SOURCE_SECRET_ACCESS_KEY" secret:"yes" doc:"secret of that access key"`
	S3SourceBucket          string `env:"S3_SOURCE_BUCKET" doc:"bucket of the originals; absent: originals are not handed out"`
	Downloads               string `env:"DOWNLOADS" envDefault:"redirect" doc:"redirect to the store, or stream through the API where browsers cannot reach the store"`

	OIDCIssuer       string        `env:"OIDC_ISSUER" doc:"URL of the OpenID provider; absent: API keys only"`
	OIDCClientID     string        `env:"OIDC_CLIENT_ID" doc:"this service at the provider"`
	OIDCClientSecret string        `env:"OIDC_CLIENT_SECRET" secret:"yes" doc:"its secret; absent for a public client"`
	OIDCAudience     string        `env:"OIDC_AUDIENCE" doc:"audience that bearer tokens must name. Default: OIDC_CLIENT_ID"`
	SessionTTL       time.Duration `env:"SESSION_TTL" envDefault:"8h" doc:"life of a browser's session"`
	OperatorEmails   []string      `env:"OPERATOR_EMAILS" doc:"people, by comma, who operate this service; that gives them no project's data"`

	SMTPURL        string `env:"SMTP_URL" secret:"yes" doc:"mail server: smtp://user:password@host:587, encrypted by STARTTLS unless ?tls=off or on this machine, or smtps://user:password@host:465; absent: no mails"`
	MailFrom       string `env:"MAIL_FROM" doc:"sender of mails: an address, or Name <address>; required with SMTP_URL"`
	MailTellAdmins bool   `env:"MAIL_TELL_ADMINS" envDefault:"true" doc:"tell a project's owner and admins when somebody exports everything"`
	DisplayTZ      string `env:"DISPLAY_TZ" envDefault:"UTC" doc:"time zone of mails, such as America/Chicago; UTC stands beside it"`

	WorkerConcurrency int           `env:"WORKER_CONCURRENCY" envDefault:"2" doc:"large exports at once on a worker; as many small ones beside them"`
	ProjectSlots      int           `env:"PROJECT_SLOTS" envDefault:"1" doc:"exports of one project at once, in each lane"`
	ProjectQueueMax   int           `env:"PROJECT_QUEUE_MAX" envDefault:"100" doc:"exports of one project that may wait"`
	LinkTTL           time.Duration `env:"LINK_TTL" envDefault:"15m" doc:"life of a download link"`
	ExportRetention   time.Duration `env:"EXPORT_RETENTION" envDefault:"72h" doc:"how long a finished file is kept"`
	JobRetention      time.Duration `env:"JOB_RETENTION" envDefault:"720h" doc:"how long the record of an export is kept after its data is gone"`
	AuditRetention    time.Duration `env:"AUDIT_RETENTION" envDefault:"9600h" doc:"how long the audit is kept; 30 days or more"`
	GzipLevel         int           `env:"GZIP_LEVEL" envDefault:"5" doc:"1 (fast) to 9 (small)"`
	ShutdownGrace     time.Duration `env:"SHUTDOWN_GRACE" envDefault:"25s" doc:"for ending requests and handing exports back"`
	OTLPEndpoint      string        `env:"OTEL_EXPORTER_OTLP_ENDPOINT" doc:"where traces go, such as http://collector:4318; absent: no tracing. OTEL_EXPORTER_OTLP_HEADERS and OTEL_TRACES_SAMPLER are heeded, too"`
	LogLevel          slog.Level    `env:"LOG_LEVEL" envDefault:"INFO" doc:"DEBUG, INFO, WARN or ERROR"`
}

// parsers are for types whose own do not take all that a person would write.
var parsers = map[reflect.Type]env.ParserFunc{
	reflect.TypeFor[[]netip.Prefix](): func(s string) (any, error) { return networks(s) },
}

// networks reads addresses and networks, by comma.
func networks(s string) (list []netip.Prefix, err error) {
	for one := range strings.SplitSeq(s, ",") {
		one = strings.TrimSpace(one)
		if a, err := netip.ParseAddr(one); err == nil {
			list = append(list, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(one)
		if err != nil {
			return nil, errors.New("must be addresses or networks such as 10.0.0.1 or 10.0.0.0/8")
		}
		list = append(list, p)
	}
	return list, nil
}

// secrets may be given as files.
var secrets = []string{"DATABASE_URL", "SOURCE_DATABASE_URL", "REDIS_URL", "PLATFORM_REDIS_URL", "S3_SECRET_ACCESS_KEY",
	"S3_SOURCE_SECRET_ACCESS_KEY", "OIDC_CLIENT_SECRET", "SMTP_URL"}

// Load reads and checks the environment, given as os.Environ gives it. It
// reports everything that is wrong at once.
func Load(environ []string) (Config, error) {
	vars := env.ToMap(environ)
	var c Config
	errs := readFiles(vars)
	var agg env.AggregateError
	if err := env.ParseWithOptions(&c, env.Options{Environment: vars, FuncMap: parsers}); errors.As(err, &agg) {
		errs = append(errs, agg.Errors...)
	} else if err != nil {
		errs = append(errs, err)
	}
	c.SourceDatabaseURL = cmp.Or(c.SourceDatabaseURL, c.DatabaseURL)
	c.OIDCAudience = cmp.Or(c.OIDCAudience, c.OIDCClientID)
	c.originals()
	errs = append(errs, c.validate()...)
	return c, errors.Join(errs...)
}

// originals gives the store of the originals the settings of the exports' where
// it has none of its own. Another store never gets this one's secret.
func (c *Config) originals() {
	if same := c.S3SourceEndpoint == "" || c.S3SourceEndpoint == c.S3Endpoint; same {
		c.S3SourceEndpoint = c.S3Endpoint
		c.S3SourcePublicEndpoint = cmp.Or(c.S3SourcePublicEndpoint, c.S3PublicEndpoint)
		if c.S3SourceAccessKeyID == "" && c.S3SourceSecretAccessKey == "" {
			c.S3SourceAccessKeyID, c.S3SourceSecretAccessKey = c.S3AccessKeyID, c.S3SecretAccessKey
		}
	}
	c.S3SourceRegion = cmp.Or(c.S3SourceRegion, c.S3Region)
	c.S3SourceAddressing = cmp.Or(c.S3SourceAddressing, c.S3Addressing)
}

// readFiles replaces each secret's *_FILE by what the file holds.
func readFiles(vars map[string]string) (errs []error) {
	for _, name := range secrets {
		path := vars[name+"_FILE"]
		if path == "" {
			continue
		}
		if vars[name] != "" {
			errs = append(errs, fmt.Errorf("%s and %s_FILE are both set: leave one out", name, name))
			continue
		}
		b, err := os.ReadFile(path)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s_FILE: %w", name, err))
			continue
		}
		vars[name] = strings.TrimSpace(string(b))
	}
	return errs
}

func (c *Config) validate() (errs []error) {
	need := func(ok bool, message string) {
		if !ok {
			errs = append(errs, errors.New(message))
		}
	}
	u, err := url.Parse(c.PublicURL)
	need(err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == "",
		"PUBLIC_URL must be a URL such as https://export.example.org or https://example.org/export")
	c.PublicURL = strings.TrimSuffix(c.PublicURL, "/")
	need(c.S3Addressing == "path" || c.S3Addressing == "virtual", "S3_ADDRESSING must be path or virtual")
	need((c.S3AccessKeyID == "") == (c.S3SecretAccessKey == ""), "S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY go together")
	need(c.S3SourceAddressing == "path" || c.S3SourceAddressing == "virtual", "S3_SOURCE_ADDRESSING must be path or virtual")
	need((c.S3SourceAccessKeyID == "") == (c.S3SourceSecretAccessKey == ""), "S3_SOURCE_ACCESS_KEY_ID and S3_SOURCE_SECRET_ACCESS_KEY go together")
	need(c.Downloads == "redirect" || c.Downloads == "stream", "DOWNLOADS must be redirect or stream")
	need((c.OIDCIssuer == "") == (c.OIDCClientID == ""), "OIDC_ISSUER and OIDC_CLIENT_ID go together")
	need(c.SessionTTL >= time.Minute && c.SessionTTL <= 30*24*time.Hour, "SESSION_TTL must be 1m to 720h")
	need(c.RateLimit >= 0, "RATE_LIMIT must be 0 (no limit) or more")
	for i, o := range c.AllowedOrigins {
		o = strings.ToLower(o) // as browsers send it
		c.AllowedOrigins[i] = o
		u, err := url.Parse(o)
		need(err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && o == u.Scheme+"://"+u.Host && !strings.Contains(o, "*"),
			"ALLOWED_ORIGINS must be origins such as https://chat.example.org, without a path or a *")
	}
	for _, e := range c.OperatorEmails {
		need(strings.Count(e, "@") == 1, "OPERATOR_EMAILS must be e-mail addresses")
	}
	c.validateMail(need)
	need(c.AuditRetention >= 30*24*time.Hour, "AUDIT_RETENTION must be 720h (30 days) or more")
	need(c.S3Prefix == "" || strings.HasSuffix(c.S3Prefix, "/"), "S3_PREFIX must end in /")
	need(c.SourceConns >= 1 && c.SourceConns <= 16, "SOURCE_CONNS must be 1 to 16")
	need(c.SourceReadMBps >= 0 && c.SourceReadMBps <= 10000, "SOURCE_READ_MBPS must be 0 (no limit) to 10000")
	need(c.MaxRunning >= 0, "MAX_RUNNING must be 0 (no limit) or more")
	need(c.WorkerConcurrency >= 1, "WORKER_CONCURRENCY must be 1 or more")
	need(c.ProjectSlots >= 1, "PROJECT_SLOTS must be 1 or more")
	need(c.ProjectQueueMax >= 1, "PROJECT_QUEUE_MAX must be 1 or more")
	need(c.LinkTTL >= time.Minute && c.LinkTTL <= 24*time.Hour, "LINK_TTL must be 1m to 24h")
	need(c.ExportRetention >= time.Hour, "EXPORT_RETENTION must be 1h or more")
	need(c.JobRetention >= 24*time.Hour, "JOB_RETENTION must be 24h or more")
	need(c.GzipLevel >= 1 && c.GzipLevel <= 9, "GZIP_LEVEL must be 1 to 9")
	need(c.ShutdownGrace >= time.Second, "SHUTDOWN_GRACE must be 1s or more")
	return errs
}

func (c *Config) validateMail(need func(ok bool, message string)) {
	u, err := url.Parse(c.SMTPURL)
	need(c.SMTPURL == "" || err == nil && (u.Scheme == "smtp" || u.Scheme == "smtps") && u.Hostname() != "",
		"SMTP_URL must be smtp://user:password@host:587 or smtps://user:password@host:465")
	need(c.SMTPURL == "" || c.MailFrom != "", "MAIL_FROM is needed with SMTP_URL: the address that mails come from")
	if c.MailFrom != "" {
		_, err := mail.ParseAddress(c.MailFrom)
		need(err == nil, "MAIL_FROM must be an address such as exports@example.org, or Bulk Export <exports@example.org>")
	}
	_, err = time.LoadLocation(c.DisplayTZ)
	need(err == nil && c.DisplayTZ != "Local", "DISPLAY_TZ must be a time zone such as UTC or America/Chicago")
}

// Zone is that of DISPLAY_TZ.
func (c *Config) Zone() *time.Location {
	if z, err := time.LoadLocation(c.DisplayTZ); err == nil {
		return z
	}
	return time.UTC // not after Load
}
