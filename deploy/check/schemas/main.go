// Command schemas makes the JSON schemas that the Kubernetes manifests are
// checked against, in this folder, from what Kubernetes and KEDA publish as Go
// modules: go run ./schemas. Descriptions are left out, unknown fields refused.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

const (
	kubernetes = "k8s.io/kubernetes@v1.33.5"
	keda       = "github.com/kedacore/keda/v2@v2.17.2"
)

// kinds are those that the manifests use, as their file for kubeconform is
// called, and their name in Kubernetes' own document.
var kinds = map[string]string{
	"configmap-v1":                           "io.k8s.api.core.v1.ConfigMap",
	"deployment-apps-v1":                     "io.k8s.api.apps.v1.Deployment",
	"horizontalpodautoscaler-autoscaling-v2": "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler",
	"ingress-networking-v1":                  "io.k8s.api.networking.v1.Ingress",
	"namespace-v1":                           "io.k8s.api.core.v1.Namespace",
	"networkpolicy-networking-v1":            "io.k8s.api.networking.v1.NetworkPolicy",
	"poddisruptionbudget-policy-v1":          "io.k8s.api.policy.v1.PodDisruptionBudget",
	"secret-v1":                              "io.k8s.api.core.v1.Secret",
	"service-v1":                             "io.k8s.api.core.v1.Service",
	"serviceaccount-v1":                      "io.k8s.api.core.v1.ServiceAccount",
}

func main() {
	if err := run("schemas"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(out string) error {
	var doc struct{ Definitions map[string]any }
	if err := read(kubernetes, "api/openapi-spec/swagger.json", &doc); err != nil {
		return err
	}
	for file, name := range kinds {
		needed := map[string]any{}
		need(doc.Definitions, name, needed)
		if err := write(out, file, map[string]any{"$ref": "#/definitions/" + name, "definitions": needed}); err != nil {
			return err
		}
	}
	var crd struct {
		Spec struct {
			Versions []struct {
				Schema struct {
					Root any `json:"openAPIV3Schema"`
				}
			}
		}
	}
	if err := read(keda, "config/crd/bases/keda.sh_scaledobjects.yaml", &crd); err != nil {
		return err
	}
	return write(out, "scaledobject-keda-v1alpha1", strict(crd.Spec.Versions[0].Schema.Root))
}

// read reads a file of a module, which is fetched if it is not there.
func read(module, path string, into any) error {
	// In a folder without a module: nothing of this is a dependency.
	cmd := exec.Command("go", "mod", "download", "-json", module)
	cmd.Dir = os.TempDir()
	answer, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s: %w", module, err)
	}
	var m struct{ Dir string }
	if err := json.Unmarshal(answer, &m); err != nil {
		return fmt.Errorf("%s: %w", module, err)
	}
	b, err := os.ReadFile(filepath.Join(m.Dir, path))
	if err != nil {
		return fmt.Errorf("%s: %w", module, err)
	}
	return yaml.Unmarshal(b, into)
}

// need adds a definition and all that it refers to.
func need(all map[string]any, name string, needed map[string]any) {
	if needed[name] != nil {
		return
	}
	d := strict(all[name])
	switch name {
	case "io.k8s.apimachinery.pkg.api.resource.Quantity":
		d = map[string]any{"type": []string{"string", "number"}}
	case "io.k8s.apimachinery.pkg.util.intstr.IntOrString":
		d = map[string]any{"type": []string{"string", "integer"}}
	}
	needed[name] = d
	walk(d, func(m map[string]any) {
		if ref, ok := m["$ref"].(string); ok {
			need(all, strings.TrimPrefix(ref, "#/definitions/"), needed)
		}
	})
}

// strict leaves out what only people read, and closes objects with named fields.
func strict(v any) any {
	walk(v, func(m map[string]any) {
		if _, text := m["description"].(string); text {
			delete(m, "description")
		}
		for name := range m {
			if strings.HasPrefix(name, "x-kubernetes-") {
				delete(m, name)
			}
		}
		_, fields := m["properties"].(map[string]any)
		if _, open := m["additionalProperties"]; fields && !open && (m["type"] == "object" || m["type"] == nil) {
			m["additionalProperties"] = false
		}
	})
	return v
}

func walk(v any, f func(map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		f(v)
		for _, w := range v {
			walk(w, f)
		}
	case []any:
		for _, w := range v {
			walk(w, f)
		}
	}
}

func write(dir, file string, schema any) error {
	b, err := json.Marshal(schema)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, file+".json"), append(b, '\n'), 0o644)
}
