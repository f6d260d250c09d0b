package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"path"
	"testing"

	"golang.org/x/tools/go/analysis"
)

const own = module + "/"

// importCases holds for a file of each layer what it may import and what not.
var importCases = map[string]struct{ allowed, refused []string }{
	"internal/jobs/job.go": {
		allowed: []string{"context", "encoding/json", "log/slog", own + "internal/jobs/clock"},
		refused: []string{"log", "io/ioutil", "github.com/google/uuid", own + "deploy", own + "internal/store"},
	},
	"internal/jobs/job_test.go": {
		allowed: []string{own + "internal/store", own + "internal/testenv", "github.com/jackc/pgx/v5"},
		refused: []string{"log", own + "internal/config", own + "internal/e2e"},
	},
	"deploy/deploy.go": {
		allowed: []string{"embed"},
		refused: []string{own + "internal/jobs", "github.com/jackc/pgx/v5"},
	},
	"internal/store/store.go": {
		allowed: []string{own + "internal/jobs", own + "internal/pgfault", own + "internal/store/storetest",
			"github.com/jackc/pgx/v5/pgxpool", "github.com/pressly/goose/v3"},
		refused: []string{own + "internal/jobsboard", own + "internal/platform", own + "internal/export",
			own + "internal/config", own + "internal/telemetry", own + "internal/testenv",
			"github.com/hibiken/asynq", "github.com/redis/go-redis/v9", "github.com/pkg/errors"},
	},
	"internal/store/store_test.go": {
		allowed: []string{own + "internal/testenv", own + "internal/platform", "github.com/minio/minio-go/v7"},
		refused: []string{"io/ioutil", own + "internal/boot", own + "internal/telemetry", own + "internal/sim"},
	},
	"internal/platform/people.go": {
		allowed: []string{"github.com/redis/go-redis/v9", "github.com/jackc/pgx/v5", own + "internal/jobs"},
		refused: []string{"github.com/hibiken/asynq", own + "internal/queue", own + "internal/demodata"},
	},
	"internal/queue/queue.go": {
		allowed: []string{"github.com/hibiken/asynq", "github.com/redis/go-redis/v9", own + "internal/jobs"},
		refused: []string{"github.com/jackc/pgx/v5", own + "internal/pgfault"},
	},
	"internal/bucket/bucket.go": {
		allowed: []string{"github.com/minio/minio-go/v7/pkg/credentials", own + "internal/jobs"},
		refused: []string{own + "internal/export", "github.com/klauspost/compress/gzip"},
	},
	"internal/auth/oidc.go":   {allowed: []string{own + "internal/jobs"}, refused: []string{own + "internal/platform"}},
	"internal/notify/mail.go": {allowed: []string{own + "internal/jobs"}, refused: []string{own + "internal/store"}},
	"internal/export/file.go": {
		allowed: []string{"github.com/klauspost/compress/gzip", own + "internal/jobs"},
		refused: []string{own + "internal/worker", own + "internal/bucket", "github.com/minio/minio-go/v7"},
	},
	"internal/worker/worker.go": {
		allowed: []string{own + "internal/export", own + "internal/jobs"},
		refused: []string{own + "internal/api", own + "internal/queue", own + "internal/config"},
	},
	"internal/api/server.go": {
		allowed: []string{"github.com/danielgtaylor/huma/v2/adapters/humago", own + "internal/jobs"},
		refused: []string{own + "internal/web", own + "internal/auth", own + "internal/telemetry"},
	},
	"internal/web/pages.go": {
		allowed: []string{own + "internal/jobs"},
		refused: []string{own + "internal/api", "github.com/danielgtaylor/huma/v2"},
	},
	"internal/client/client.go":   {allowed: []string{own + "internal/jobs"}, refused: []string{own + "internal/export"}},
	"internal/convert/convert.go": {allowed: []string{own + "internal/jobs"}, refused: []string{own + "internal/client"}},
	"internal/config/config.go":   {allowed: []string{"os"}, refused: []string{own + "internal/jobs"}},
	"internal/telemetry/log.go":   {allowed: []string{"log/slog"}, refused: []string{own + "internal/config"}},
	"internal/config/config_test.go": {
		allowed: []string{own + "internal/config"},
		refused: []string{own + "internal/telemetry"},
	},
	"internal/e2e/export_test.go": {
		allowed: []string{own + "internal/client", own + "internal/jobs", own + "internal/testenv"},
		refused: []string{own + "internal/store", own + "internal/api", own + "internal/boot"},
	},
	"internal/sim/world.go": {
		allowed: []string{own + "internal/jobs", own + "internal/worker"},
		refused: []string{own + "internal/store", "github.com/jackc/pgx/v5"},
	},
	"internal/testenv/testenv.go": {
		allowed: []string{own + "internal/store", own + "internal/demodata", "github.com/jackc/pgx/v5",
			"github.com/minio/minio-go/v7", "github.com/hibiken/asynq", "github.com/redis/go-redis/v9"},
		refused: []string{own + "internal/config", own + "internal/api", own + "internal/sim"},
	},
	"internal/unlisted/leaf.go": {
		allowed: []string{"os", "github.com/google/uuid"},
		refused: []string{own + "internal/jobs", "github.com/jackc/pgx/v5"},
	},
	"cmd/api/main.go": {
		allowed: []string{own + "internal/boot", own + "internal/config", own + "internal/store", own + "internal/web"},
		refused: []string{own + "internal/testenv", own + "internal/demodata", own + "internal/sim",
			"github.com/jackc/pgx/v5", "github.com/hibiken/asynq"},
	},
	"cmd/api/main_test.go": {allowed: []string{own + "internal/config", own + "internal/testenv"}},
	"deploy/devstack/main.go": {
		allowed: []string{own + "internal/demodata", own + "internal/testenv", own + "deploy/devstack/s3",
			"github.com/jackc/pgx/v5", "github.com/minio/minio-go/v7"},
		refused: []string{"log", own + "internal/store", own + "internal/e2e"},
	},
	"tools/lint/main.go": {allowed: []string{"golang.org/x/tools/go/analysis"}, refused: []string{"log"}},
}

func TestImportOrder(t *testing.T) {
	for file, c := range importCases {
		t.Run(file, func(t *testing.T) {
			for _, imported := range c.allowed {
				if found := checkImport(t, file, imported); len(found) > 0 {
					t.Errorf("%s is refused: %q", imported, found)
				}
			}
			for _, imported := range c.refused {
				if found := checkImport(t, file, imported); len(found) != 1 {
					t.Errorf("%s: %d findings, want 1: %q", imported, len(found), found)
				}
			}
		})
	}
}

// checkImport returns the findings for a file whose only import is imported.
// The rules look at imports alone, so the file is parsed but not type-checked.
func checkImport(t *testing.T, file, imported string) (messages []string) {
	t.Helper()
	fset := token.NewFileSet()
	source := fmt.Sprintf("package x\n\nimport %q\n", imported)
	parsed, err := parser.ParseFile(fset, "/anywhere/"+file, source, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	_, err = importOrder.Run(&analysis.Pass{
		Analyzer: importOrder,
		Fset:     fset,
		Files:    []*ast.File{parsed},
		Pkg:      types.NewPackage(own+path.Dir(file), "x"),
		Report:   func(d analysis.Diagnostic) { messages = append(messages, d.Message) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return messages
}

func TestPackagePath(t *testing.T) {
	const want = "internal/jobs"
	for _, variant := range []string{
		"internal/jobs",
		"internal/jobs [github.com/bulkexport/bulkexport/internal/jobs.test]",
		"internal/jobs_test [github.com/bulkexport/bulkexport/internal/jobs.test]",
	} {
		pass := &analysis.Pass{Pkg: types.NewPackage(own+variant, "jobs")}
		if got := packagePath(pass); got != want {
			t.Errorf("%s: %s, want %s", variant, got, want)
		}
	}
}
