package main

import (
	"strings"

	"github.com/OpenPeeDeeP/depguard/v2"
	"golang.org/x/tools/go/analysis"
)

const module = "github.com/bulkexport/bulkexport"

// layer says what a package and those below it may import of this module
// outside of its tests. Importing its own tree is always allowed.
type layer struct {
	imports []string
	// std holds the package to the standard library.
	std bool
	// strict holds the tests to the same rule.
	strict bool
}

// layers is the import order of docs/design.md. A package of internal that is
// not listed is a leaf: it imports nothing of this module, and nobody but tests
// imports it until it is listed.
var layers = map[string]layer{
	"deploy": {std: true},

	"internal/jobs":     {std: true},
	"internal/pgfault":  {},
	"internal/redisurl": {},
	"internal/deflate":  {std: true},

	"internal/store":    {imports: []string{"internal/jobs", "internal/pgfault"}},
	"internal/platform": {imports: []string{"internal/jobs", "internal/pgfault", "internal/redisurl"}},
	"internal/queue":    {imports: []string{"internal/jobs", "internal/redisurl"}},
	"internal/bucket":   {imports: []string{"internal/jobs"}},
	"internal/auth":     {imports: []string{"internal/jobs"}},
	"internal/notify":   {imports: []string{"internal/jobs"}},

	"internal/export":  {imports: []string{"internal/jobs", "internal/deflate"}},
	"internal/worker":  {imports: []string{"internal/jobs", "internal/export"}},
	"internal/api":     {imports: []string{"internal/jobs"}},
	"internal/web":     {imports: []string{"internal/jobs"}},
	"internal/client":  {imports: []string{"internal/jobs"}},
	"internal/convert": {imports: []string{"internal/jobs"}},

	"internal/config":    {},
	"internal/telemetry": {imports: []string{"internal/jobs"}},
	"internal/boot":      {imports: wiring},
	"cmd":                {imports: wiring},
	"internal/bench":     {imports: append([]string{"internal/demodata"}, wiring...)},

	"internal/jsontest": {},
	"internal/demodata": {imports: append([]string{"deploy", "internal/testenv"}, adapters...)},
	"internal/testenv":  {imports: append([]string{"deploy", "internal/demodata"}, adapters...)},
	"internal/sim": {imports: []string{
		"internal/jobs", "internal/export", "internal/worker", "internal/jsontest",
	}},
	"internal/e2e": {strict: true, imports: []string{
		"deploy", "internal/client", "internal/jobs", "internal/demodata", "internal/testenv", "internal/jsontest",
	}},
	"deploy/devstack": {imports: []string{
		"deploy", "internal/client", "internal/demodata", "internal/testenv",
	}},
	"deploy/check": {strict: true, imports: []string{"internal/config", "internal/redisurl"}},
}

// adapters are what the test helpers may set up: the domain and what stands
// behind its ports.
var adapters = []string{
	"internal/jobs", "internal/pgfault", "internal/store", "internal/platform", "internal/queue",
	"internal/bucket", "internal/auth", "internal/notify",
}

// wiring is what the programs tie together: all but what is there for tests.
var wiring = append([]string{
	"deploy", "internal/boot", "internal/config", "internal/telemetry", "internal/export", "internal/worker",
	"internal/api", "internal/web", "internal/client", "internal/convert",
}, adapters...)

// notInTests are packages that a test of another package has no use for: the
// settings and the wiring, which hand plain values on, and the suites.
var notInTests = []string{
	"internal/config", "internal/telemetry", "internal/boot", "internal/sim", "internal/e2e",
}

// drivers are the libraries that stay behind the packages named here, so that
// one can be replaced in one place. Tests may use them to look behind a port.
var drivers = map[string][]string{
	"github.com/jackc/pgx": {
		"internal/store", "internal/platform", "internal/pgfault", "internal/demodata", "internal/testenv", "internal/bench",
	},
	"github.com/minio/minio-go":     {"internal/bucket", "internal/demodata", "internal/testenv"},
	"github.com/hibiken/asynq":      {"internal/queue", "internal/demodata", "internal/testenv"},
	"github.com/redis/go-redis":     {"internal/redisurl", "internal/queue", "internal/platform", "internal/demodata", "internal/testenv"},
	"github.com/klauspost/compress": {"internal/export"},
	"github.com/danielgtaylor/huma": {"internal/api"},
	"github.com/rs/cors":            {"internal/api"},
	"github.com/go-redis":           {"internal/queue"},
	"github.com/coreos/go-oidc":     {"internal/auth"},
	"golang.org/x/oauth2":           {"internal/auth"},
	"github.com/alexedwards/scs":    {"internal/auth"},
	"github.com/wneessen/go-mail":   {"internal/notify"},
	"github.com/prometheus":         {"internal/telemetry"},
	"go.opentelemetry.io":           {"internal/telemetry"},
}

// outdated are packages that have a successor in the standard library.
var outdated = map[string]string{
	"log$":                   "use log/slog, handed in as *slog.Logger",
	"io/ioutil$":             "use io and os",
	"github.com/pkg/errors$": "use errors and fmt.Errorf with %w",
}

// importOrder reports imports that go against the layers. It picks the rules by
// the package's path, not by the file's, so that they hold wherever the
// repository lies.
var importOrder = &analysis.Analyzer{
	Name: "depguard",
	Doc:  "keep the import order of docs/design.md",
	URL:  "https://github.com/OpenPeeDeeP/depguard",
	Run: func(pass *analysis.Pass) (any, error) {
		rules := importRules(packagePath(pass))
		guard, err := depguard.NewAnalyzer(&rules)
		if err != nil {
			return nil, err
		}
		return guard.Run(pass)
	},
}

// packagePath is the path of the package under analysis within this module,
// which a package shares with its tests inside and outside.
func packagePath(pass *analysis.Pass) string {
	path, _, _ := strings.Cut(pass.Pkg.Path(), " ")
	path = strings.TrimSuffix(path, "_test")
	return strings.TrimPrefix(path, module+"/")
}

func importRules(pkg string) depguard.LinterSettings {
	rules := depguard.LinterSettings{
		"outdated": {ListMode: "lax", Files: []string{"$all"}, Deny: outdated},
	}
	if within(pkg, "tools") {
		return rules
	}
	root, l := layerOf(pkg)
	rules["layer of "+root] = layerRule(root, l)
	if !l.strict && !withinAny(pkg, []string{"cmd", "internal/boot"}) {
		rules["tests of "+root] = testRule(pkg)
	}
	if !l.std && root != "deploy/devstack" {
		rules["drivers"] = driverRule(pkg)
	}
	return rules
}

// layerRule allows what the packages at and below root may import.
func layerRule(root string, l layer) *depguard.List {
	rule := &depguard.List{
		ListMode: "lax",
		Files:    []string{"$all", "!$test"},
		Allow:    tree(module + "/" + root),
		Deny:     map[string]string{module: "docs/design.md says who may import whom"},
	}
	for _, other := range l.imports {
		rule.Allow = append(rule.Allow, tree(module+"/"+other)...)
	}
	if l.std {
		rule.ListMode = "strict"
		rule.Allow = append(rule.Allow, "$gostd")
	}
	if l.strict {
		rule.Files = []string{"$all"}
	}
	return rule
}

// layerOf finds the entry of layers that pkg stands under, else makes it a leaf.
func layerOf(pkg string) (string, layer) {
	for root := pkg; root != ""; root = parent(root) {
		if l, ok := layers[root]; ok {
			return root, l
		}
	}
	return pkg, layer{}
}

// testRule keeps the tests of pkg from what serves other purposes.
func testRule(pkg string) *depguard.List {
	rule := &depguard.List{ListMode: "lax", Files: []string{"$test"}, Deny: map[string]string{}}
	for _, other := range notInTests {
		if within(pkg, other) {
			continue
		}
		for _, path := range tree(module + "/" + other) {
			rule.Deny[path] = "tests hand plain values in and use internal/testenv"
		}
	}
	return rule
}

// driverRule denies the libraries that pkg does not own.
func driverRule(pkg string) *depguard.List {
	rule := &depguard.List{ListMode: "lax", Files: []string{"$all", "!$test"}, Deny: map[string]string{}}
	for driver, owners := range drivers {
		if !withinAny(pkg, owners) {
			rule.Deny[driver] = "only for " + strings.Join(owners, ", ") + " and tests"
		}
	}
	return rule
}

// tree is depguard's pattern for a package and all below it. The bare path
// would match its namesakes too: internal/jobs and internal/jobsboard.
func tree(path string) []string { return []string{path + "$", path + "/"} }

func within(pkg, root string) bool {
	return pkg == root || strings.HasPrefix(pkg, root+"/")
}

func withinAny(pkg string, roots []string) bool {
	for _, root := range roots {
		if within(pkg, root) {
			return true
		}
	}
	return false
}

func parent(path string) string {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)]
}
