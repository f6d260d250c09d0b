package check

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

// compose loads docker-compose.yml as Compose does; no engine is needed for that.
func compose(t *testing.T) *types.Project {
	t.Helper()
	dir, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	body, err := os.ReadFile(filepath.Join(dir, "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	project, err := loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir:  dir,
		ConfigFiles: []types.ConfigFile{{Filename: "docker-compose.yml", Content: body}},
	}, func(o *loader.Options) { o.SetProjectName("bulk-export", true); o.Profiles = []string{"*"} })
	if err != nil {
		t.Fatal(err)
	}
	return project
}

// asDefault are the settings that the demo leaves as the programs have them.
var asDefault = []string{
	"TRUSTED_PROXIES", "ALLOWED_ORIGINS", "RATE_LIMIT", "AUTO_MIGRATE", "SOURCE_CONNS", "SOURCE_READ_MBPS", "MAX_RUNNING",
	"S3_PREFIX", "S3_SOURCE_PUBLIC_ENDPOINT", "DOWNLOADS", "OIDC_AUDIENCE", "SESSION_TTL", "MAIL_TELL_ADMINS", "DISPLAY_TZ",
	"WORKER_CONCURRENCY", "PROJECT_SLOTS", "PROJECT_QUEUE_MAX", "LINK_TTL", "EXPORT_RETENTION", "JOB_RETENTION",
	"AUDIT_RETENTION", "GZIP_LEVEL", "SHUTDOWN_GRACE", "LOG_LEVEL", "OTEL_EXPORTER_OTLP_ENDPOINT",
}

func TestCompose(t *testing.T) {
	project := compose(t)
	names := project.ServiceNames()
	for _, name := range []string{"api", "worker", "init", "postgres", "queue", "roles", "s3", "mail", "sign-in", "prometheus", "grafana", "asynqmon"} {
		if !slices.Contains(names, name) {
			t.Errorf("no service %s", name)
		}
	}
	if tools := project.Services["asynqmon"].Profiles; !slices.Equal(tools, []string{"tools"}) {
		t.Errorf("asynqmon starts with %v", tools)
	}
	for name, s := range project.Services {
		service(t, project, name, s)
	}
}

// unchecked have nothing in their image that could ask, or end by themselves.
var unchecked = []string{"init", "asynqmon"}

// service checks one: its image has a tag that stays, its health is asked, its
// ports are this machine's alone, and what it mounts is there.
func service(t *testing.T, p *types.Project, name string, s types.ServiceConfig) {
	t.Helper()
	if _, tag, _ := strings.Cut(s.Image, ":"); s.Build == nil && (tag == "" || strings.Contains(tag, "latest")) {
		t.Errorf("%s: image %q has no tag that stays", name, s.Image)
	}
	if (s.HealthCheck == nil) != slices.Contains(unchecked, name) {
		t.Errorf("%s: is its health asked? %t", name, s.HealthCheck != nil)
	}
	if s.Build != nil {
		there(t, name, filepath.Join(s.Build.Context, s.Build.Dockerfile))
		if !s.ReadOnly && name != "init" {
			t.Errorf("%s may write", name)
		}
	}
	for _, v := range s.Volumes {
		if v.Type == types.VolumeTypeBind {
			there(t, name, v.Source)
		} else if _, ok := p.Volumes[v.Source]; !ok {
			t.Errorf("%s: no volume %s", name, v.Source)
		}
	}
	for _, secret := range s.Secrets {
		there(t, name, p.Secrets[secret.Source].File)
	}
	for _, port := range s.Ports {
		if port.HostIP != "127.0.0.1" {
			t.Errorf("%s: port %s is open to the network", name, port.Published)
		}
	}
}

func there(t *testing.T, name, path string) {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		t.Errorf("%s: %v", name, err)
	}
}

// The programs and the demo's filling know every variable and start with them.
func TestComposeSettings(t *testing.T) {
	p := compose(t)
	for _, name := range []string{"api", "worker", "init"} {
		set := make(map[string]string)
		for k, v := range p.Services[name].Environment {
			if v == nil {
				t.Fatalf("%s: %s has no value", name, k)
			}
			set[k] = *v
			if file, ok := strings.CutPrefix(*v, "/run/secrets/"); ok {
				set[k] = p.Secrets[file].File
				if !slices.ContainsFunc(p.Services[name].Secrets, func(s types.ServiceSecretConfig) bool { return s.Source == file }) && name != "init" {
					t.Errorf("%s does not get the secret %s", name, file)
				}
			}
		}
		if name == "init" {
			delete(set, "DEVSTACK_ADMIN_DATABASE_URL_FILE")
		}
		checkSettings(t, name, set, asDefault...)
	}
}

// Compose kills what has not ended by then; a worker hands its exports back.
func TestComposeGrace(t *testing.T) {
	grace := compose(t).Services["worker"].StopGracePeriod
	if grace == nil || grace.String() != "40s" {
		t.Errorf("a worker that ends is given %v", grace)
	}
}
