package check

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/yannh/kubeconform/pkg/validator"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const manifests = root + "/deploy/kubernetes"

// overlays are what an operator applies, and who says how many workers run.
var overlays = map[string]string{"small": "Deployment", "large": "ScaledObject", "large-hpa": "HorizontalPodAutoscaler"}

// object is what these tests look at of any manifest.
type object struct {
	Kind     string
	Metadata struct{ Name, Namespace string }
	Data     map[string]string
	// StringData is a Secret's.
	StringData map[string]string
	Spec       struct {
		Replicas     *int
		MinAvailable any
		Triggers     []struct{ Metadata map[string]string }
		Template     struct {
			Spec podSpec
		}
	}
}

type podSpec struct {
	TerminationGracePeriodSeconds int
	AutomountServiceAccountToken  *bool
	SecurityContext               struct {
		RunAsNonRoot   bool
		RunAsUser      int
		SeccompProfile struct{ Type string }
	}
	TopologySpreadConstraints  []any
	InitContainers, Containers []container
	Volumes                    []struct{ Secret struct{ SecretName string } }
}

type container struct {
	Image   string
	Command []string
	EnvFrom []struct {
		ConfigMapRef struct{ Name string }
	}
	SecurityContext struct {
		AllowPrivilegeEscalation *bool
		ReadOnlyRootFilesystem   bool
		Capabilities             struct{ Drop []string }
	}
	LivenessProbe, ReadinessProbe, StartupProbe struct {
		HTTPGet struct {
			Path string
			Port string
		} `json:"httpGet"`
	}
	Lifecycle struct {
		PreStop struct{ Sleep struct{ Seconds int } }
	}
	Resources struct{ Requests, Limits map[string]string }
}

func render(t *testing.T, overlay string) []byte {
	t.Helper()
	m, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(manifests, "overlays", overlay))
	if err != nil {
		t.Fatalf("%s: %v", overlay, err)
	}
	out, err := m.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// valid checks against the schemas in this folder; a kind without one is an error.
func valid(t *testing.T, name string, stream []byte) {
	t.Helper()
	v, err := validator.New([]string{"schemas/{{ .ResourceKind }}{{ .KindSuffix }}.json"}, validator.Opts{Strict: true})
	if err != nil {
		t.Fatal(err)
	}
	results := v.Validate(name, io.NopCloser(bytes.NewReader(stream)))
	if len(results) == 0 {
		t.Errorf("%s: nothing in it", name)
	}
	for _, r := range results {
		if r.Status != validator.Valid {
			t.Errorf("%s: %v %v", name, r.Err, r.ValidationErrors)
		}
	}
}

func objects(t *testing.T, stream []byte) (list []object) {
	t.Helper()
	for doc := range strings.SplitSeq(string(stream), "\n---\n") {
		var o object
		if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
			t.Fatal(err)
		}
		list = append(list, o)
	}
	return list
}

func ofKind(all []object, kind string) (list []object) {
	return slices.DeleteFunc(slices.Clone(all), func(o object) bool { return o.Kind != kind })
}

func example(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile(manifests + "/examples/secret.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOverlays(t *testing.T) {
	valid(t, "examples/secret.yaml", example(t))
	for overlay, scaler := range overlays {
		t.Run(overlay, func(t *testing.T) {
			stream := render(t, overlay)
			valid(t, overlay, stream)
			all := objects(t, stream)
			deployments := ofKind(all, "Deployment")
			if n := len(deployments); n != 2 || len(ofKind(all, "PodDisruptionBudget")) != n || len(ofKind(all, "NetworkPolicy")) != 2 || len(ofKind(all, "Ingress")) != 1 {
				t.Errorf("%d deployments, or not a budget for each, two policies and an ingress", n)
			}
			maps := ofKind(all, "ConfigMap")
			for _, d := range deployments {
				pod(t, d, maps[0].Metadata.Name)
				scaled := strings.HasSuffix(d.Metadata.Name, "-worker") && scaler != "Deployment"
				if (d.Spec.Replicas == nil) != scaled {
					t.Errorf("%s: its manifest gives %v replicas", d.Metadata.Name, d.Spec.Replicas)
				}
			}
			if scalers := ofKind(all, scaler); len(scalers) == 0 {
				t.Errorf("no %s", scaler)
			}
			for _, o := range all {
				if o.Metadata.Namespace != "bulkexport" && o.Kind != "Namespace" {
					t.Errorf("%s %s is in namespace %q", o.Kind, o.Metadata.Name, o.Metadata.Namespace)
				}
			}
		})
	}
}

// pod checks what "restricted" asks for and more, and that it is given the time
// that it takes to end.
func pod(t *testing.T, d object, settings string) {
	t.Helper()
	p, program := d.Spec.Template.Spec, strings.TrimPrefix(d.Metadata.Name, "bulkexport-")
	need := func(ok bool, what string) {
		t.Helper()
		if !ok {
			t.Errorf("%s: %s", program, what)
		}
	}
	need(p.SecurityContext.RunAsNonRoot && p.SecurityContext.RunAsUser == 65532, "runs as root")
	need(p.SecurityContext.SeccompProfile.Type == "RuntimeDefault", "no seccomp profile")
	need(p.AutomountServiceAccountToken != nil && !*p.AutomountServiceAccountToken, "gets a token of Kubernetes")
	need(len(p.TopologySpreadConstraints) == 2, "is not spread")
	need(p.Volumes[0].Secret.SecretName == "bulkexport-secrets", "has no secrets")
	need(len(p.InitContainers) == 1 && slices.Equal(p.InitContainers[0].Command, []string{"/usr/local/bin/" + program, "migrate"}), "does not migrate first")
	need(len(p.Containers) == 1 && slices.Equal(p.Containers[0].Command, []string{"/usr/local/bin/" + program}), "runs something else")
	for _, c := range append(p.InitContainers, p.Containers...) {
		s := c.SecurityContext
		need(s.ReadOnlyRootFilesystem && s.AllowPrivilegeEscalation != nil && !*s.AllowPrivilegeEscalation && slices.Equal(s.Capabilities.Drop, []string{"ALL"}), "may too much")
		need(c.EnvFrom[0].ConfigMapRef.Name == settings, "has other settings than those that are generated")
		need(c.Resources.Requests["memory"] != "" && c.Resources.Limits["memory"] != "" && c.Resources.Limits["cpu"] != "", "has no limits")
		need(c.Image == "registry.example.org/bulk-export:1.0.0", "its image is "+c.Image)
	}
	c := p.Containers[0]
	need(c.LivenessProbe.HTTPGet.Path == "/healthz" && c.StartupProbe.HTTPGet.Path == "/healthz" && c.ReadinessProbe.HTTPGet.Path == "/readyz", "is asked elsewhere")
	need(c.ReadinessProbe.HTTPGet.Port == "metrics", "is asked at another port")
	grace := 25 * time.Second // settings.env says so: see TestKubernetesSettings
	need(time.Duration(p.TerminationGracePeriodSeconds-c.Lifecycle.PreStop.Sleep.Seconds)*time.Second > grace, "is killed before it has ended")
	need(program == "worker" || c.Lifecycle.PreStop.Sleep.Seconds > 0, "ends before it gets no more requests")
}

// Each overlay's settings are known, start the programs, and name each secret of
// the example once.
func TestKubernetesSettings(t *testing.T) {
	secret := objects(t, example(t))[0].StringData
	dir := t.TempDir()
	for name, value := range secret {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for overlay := range overlays {
		settings := ofKind(objects(t, render(t, overlay)), "ConfigMap")[0].Data
		if settings["SHUTDOWN_GRACE"] != "25s" {
			t.Errorf("%s: SHUTDOWN_GRACE is %s; see pod", overlay, settings["SHUTDOWN_GRACE"])
		}
		used := make(map[string]bool)
		for name, value := range settings {
			if file, ok := strings.CutPrefix(value, "/run/secrets/bulkexport/"); ok {
				used[file] = true
				settings[name] = filepath.Join(dir, file)
			}
		}
		for name := range secret {
			if !used[name] {
				t.Errorf("%s: nothing reads the secret %s", overlay, name)
			}
		}
		left := []string{
			"ALLOWED_ORIGINS", "RATE_LIMIT", "SOURCE_CONNS", "SOURCE_READ_MBPS", "S3_PUBLIC_ENDPOINT", "S3_PREFIX", "S3_SOURCE_ENDPOINT",
			"S3_SOURCE_PUBLIC_ENDPOINT", "S3_SOURCE_REGION", "S3_SOURCE_ADDRESSING", "S3_SOURCE_ACCESS_KEY_ID", "S3_SOURCE_SECRET_ACCESS_KEY",
			"DOWNLOADS", "OIDC_AUDIENCE", "SESSION_TTL", "MAIL_TELL_ADMINS", "PROJECT_SLOTS", "PROJECT_QUEUE_MAX", "LINK_TTL",
			"EXPORT_RETENTION", "JOB_RETENTION", "AUDIT_RETENTION", "GZIP_LEVEL", "LOG_LEVEL", "OTEL_EXPORTER_OTLP_ENDPOINT",
		}
		if overlay == "small" {
			left = append(left, "MAX_RUNNING")
		}
		checkSettings(t, overlay, settings, left...)
	}
}

// The validator refuses what a typing error leaves.
func TestSchemasAreStrict(t *testing.T) {
	v, err := validator.New([]string{"schemas/{{ .ResourceKind }}{{ .KindSuffix }}.json"}, validator.Opts{Strict: true})
	if err != nil {
		t.Fatal(err)
	}
	good := string(render(t, "large"))
	for _, change := range [][2]string{
		{"readOnlyRootFilesystem:", "readonlyRootFilesystem:"}, {"maxUnavailable: 1", "maxUnavailable: [1]"},
		{"pollingInterval: 15", "pollingInterval: soon"}, {"replicas: 3", `replicas: "3"`}, {"kind: Ingress", "kind: Ingres"},
	} {
		bad := strings.Replace(good, change[0], change[1], 1)
		if bad == good {
			t.Errorf("there is no %q to change", change[0])
		}
		results := v.Validate("changed", io.NopCloser(strings.NewReader(bad)))
		if !slices.ContainsFunc(results, func(r validator.Result) bool { return r.Status != validator.Valid }) {
			t.Errorf("%q is taken", change[1])
		}
	}
}
