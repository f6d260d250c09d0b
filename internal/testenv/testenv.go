// Package testenv gives each test a world of its own on the real components
// that `devstack exec` has started: a database with the platform's tables, a
// Redis database for the queue and one for the roles, a bucket.
package testenv

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/redis/go-redis/v9"

	"github.com/bulkexport/bulkexport/deploy"
	"github.com/bulkexport/bulkexport/internal/demodata"
)

// World is what one test has to itself. All of it goes when the test ends.
type World struct {
	AdminURL         string // superuser, this test's database
	DatabaseURL      string // the service's role
	SourceURL        string // the least-privilege role
	RedisURL         string
	PlatformRedisURL string
	Bucket           string
	S3               *minio.Client
}

// Var returns a variable of the development stack, or fails the test with the
// command that starts one.
func Var(t testing.TB, name string) string {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		t.Fatalf("%s is not set: these tests need the real components. Run `make test`, or "+
			"`make build` and then `.data/bin/devstack exec -- go test ./...`", name)
	}
	return v
}

// New makes a world with the platform's tables, empty, and its demo people.
func New(t testing.TB) *World {
	t.Helper()
	w := &World{}
	w.database(t)
	w.RedisURL = redisDatabase(t, "REDIS_URL")
	w.PlatformRedisURL = redisDatabase(t, "PLATFORM_REDIS_URL")
	if err := demodata.FillRoles(t.Context(), w.Roles(t)); err != nil {
		t.Fatal(err)
	}
	w.bucket(t)
	return w
}

// Env is the world in the service's own variables.
func (w *World) Env(t testing.TB) []string {
	env := []string{
		"DATABASE_URL=" + w.DatabaseURL, "SOURCE_DATABASE_URL=" + w.SourceURL,
		"REDIS_URL=" + w.RedisURL, "PLATFORM_REDIS_URL=" + w.PlatformRedisURL, "S3_BUCKET=" + w.Bucket,
		"RATE_LIMIT=0", // tests ask more often than people
	}
	for _, name := range []string{"S3_ENDPOINT", "S3_REGION", "S3_ADDRESSING", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"} {
		env = append(env, name+"="+Var(t, name))
	}
	return env
}

// Admin connects as the superuser.
func (w *World) Admin(t testing.TB) *pgx.Conn {
	t.Helper()
	return connect(t, w.AdminURL)
}

// Roles is a client of the platform's Redis.
func (w *World) Roles(t testing.TB) redis.UniversalClient {
	t.Helper()
	return redisClient(t, w.PlatformRedisURL)
}

// QueueRedis is a client of the queue's Redis.
func (w *World) QueueRedis(t testing.TB) redis.UniversalClient {
	t.Helper()
	return redisClient(t, w.RedisURL)
}

// Damage gives conversations a large value and destroys a piece of it, as a bad
// disk would: reading those rows fails from then on, and theirs alone.
func (w *World) Damage(t testing.TB, ids ...int64) {
	t.Helper()
	db := w.Admin(t)
	run := func(sql string, args ...any) {
		if _, err := db.Exec(t.Context(), sql, args...); err != nil {
			t.Fatalf("damage a row (is postgresql-contrib's pg_surgery installed?): %v", err)
		}
	}
	run(`create extension if not exists pg_surgery`)
	var toast string
	err := db.QueryRow(t.Context(), `select reltoastrelid::regclass::text from pg_class where oid = '"llm-convo-monitor"'::regclass`).Scan(&toast)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		// The newest value in the TOAST table is the one that was just stored.
		run(`update "llm-convo-monitor" set convo = to_json((select string_agg(md5(i::text), '') from generate_series(1, 2000) i)) where id = $1`, id)
		var ctid string
		err := db.QueryRow(t.Context(), `select ctid::text from `+toast+`
			where chunk_id = (select max(chunk_id) from `+toast+`) order by chunk_seq limit 1`).Scan(&ctid)
		if err != nil {
			t.Fatal(err)
		}
		run(`select heap_force_kill('` + toast + `'::regclass, array['` + ctid + `']::tid[])`)
	}
}

func connect(t testing.TB, dsn string) *pgx.Conn {
	t.Helper()
	db, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close(context.WithoutCancel(t.Context())) })
	return db
}

// template is made once a stack; each test copies it, which takes some 60 ms.
const template = "bulkexport_test_template"

var (
	templateOnce sync.Once
	errTemplate  error
)

func (w *World) database(t testing.TB) {
	t.Helper()
	admin := Var(t, "DEVSTACK_ADMIN_DATABASE_URL")
	templateOnce.Do(func() { errTemplate = makeTemplate(t.Context(), admin) })
	if errTemplate != nil {
		t.Fatalf("template database: %v", errTemplate)
	}
	name := "test_" + strings.ToLower(rand.Text()[:12])
	root := connect(t, admin)
	if _, err := root.Exec(t.Context(), fmt.Sprintf(`create database %s template %s`, name, template)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 20*time.Second)
		defer cancel()
		db, err := pgx.Connect(ctx, admin)
		if err == nil {
			_, err = db.Exec(ctx, fmt.Sprintf(`drop database %s with (force)`, name))
			_ = db.Close(ctx)
		}
		if err != nil {
			t.Errorf("drop test database: %v", err)
		}
	})
	if _, err := root.Exec(t.Context(), fmt.Sprintf(`grant create on database %s to bulkexport`, name)); err != nil {
		t.Fatal(err)
	}
	w.AdminURL = inDatabase(t, admin, name)
	w.DatabaseURL = inDatabase(t, Var(t, "DATABASE_URL"), name)
	w.SourceURL = inDatabase(t, Var(t, "SOURCE_DATABASE_URL"), name)
}

// makeTemplate is called by every test binary; the lock lets one of them work.
func makeTemplate(ctx context.Context, admin string) error {
	root, err := pgx.Connect(ctx, admin)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close(context.WithoutCancel(ctx)) }()
	if _, err := root.Exec(ctx, `select pg_advisory_lock(hashtextextended('bulkexport test template', 0))`); err != nil {
		return err
	}
	var ready bool
	err = root.QueryRow(ctx, `select exists (select from pg_database where datname = $1 and datistemplate)`, template).Scan(&ready)
	if err != nil || ready {
		return err
	}
	if _, err := root.Exec(ctx, `drop database if exists `+template); err != nil {
		return err
	}
	if _, err := root.Exec(ctx, `create database `+template); err != nil {
		return err
	}
	if err := fillTemplate(ctx, admin); err != nil {
		return err
	}
	_, err = root.Exec(ctx, `alter database `+template+` is_template true`)
	return err
}

func fillTemplate(ctx context.Context, admin string) error {
	u, err := url.Parse(admin)
	if err != nil {
		return err
	}
	u.Path = "/" + template
	db, err := pgx.Connect(ctx, u.String())
	if err != nil {
		return err
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
	if err := demodata.CreateSchema(ctx, db); err != nil {
		return err
	}
	if err := demodata.FillPeople(ctx, db); err != nil {
		return err
	}
	_, err = db.Exec(ctx, deploy.SourceGrants)
	return err
}

func inDatabase(t testing.TB, dsn, name string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}

// redisDatabase takes one of the server's databases that no other test uses.
// Sixteen are there; the first counts.
func redisDatabase(t testing.TB, variable string) string {
	t.Helper()
	u, err := url.Parse(Var(t, variable))
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/0"
	counter := redisClient(t, u.String())
	for n := 1; ; n = n%15 + 1 {
		owner := fmt.Sprintf("testenv:%d", n)
		free, err := counter.SetNX(t.Context(), owner, t.Name(), 10*time.Minute).Result()
		if err != nil {
			t.Fatal(err)
		}
		if !free {
			continue
		}
		u.Path = fmt.Sprintf("/%d", n)
		own := redisClient(t, u.String())
		if err := own.FlushDB(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { counter.Del(context.WithoutCancel(t.Context()), owner) })
		return u.String()
	}
}

func redisClient(t testing.TB, dsn string) redis.UniversalClient {
	t.Helper()
	opts, err := redis.ParseURL(dsn)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(opts)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (w *World) bucket(t testing.TB) {
	t.Helper()
	u, err := url.Parse(Var(t, "S3_ENDPOINT"))
	if err != nil {
		t.Fatal(err)
	}
	w.S3, err = minio.New(u.Host, &minio.Options{
		Creds:        credentials.NewStaticV4(Var(t, "S3_ACCESS_KEY_ID"), Var(t, "S3_SECRET_ACCESS_KEY"), ""),
		Region:       Var(t, "S3_REGION"),
		BucketLookup: minio.BucketLookupPath,
		Secure:       u.Scheme == "https",
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Bucket = "test-" + strings.ToLower(rand.Text()[:12])
	if err := w.S3.MakeBucket(t.Context(), w.Bucket, minio.MakeBucketOptions{Region: Var(t, "S3_REGION")}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		for o := range w.S3.ListObjectsIter(ctx, w.Bucket, minio.ListObjectsOptions{Recursive: true}) {
			_ = w.S3.RemoveObject(ctx, w.Bucket, o.Key, minio.RemoveObjectOptions{})
		}
		_ = w.S3.RemoveBucket(ctx, w.Bucket)
	})
}
