package main

import (
	"os"
	"strings"
	"testing"
)

// What docker-compose.yml runs, on a stack instead of containers; twice, as
// Compose runs it at each start, and with a secret in a file.
func TestInit(t *testing.T) {
	t.Parallel()
	d := execIn(t, t.TempDir(), `set -e
		psql -q "$DEVSTACK_ADMIN_DATABASE_URL" -c 'drop database platform'
		printf '%s\n' "$DATABASE_URL" > url
		"$SELF" init -rows 20 -documents 4
		env -u DATABASE_URL DATABASE_URL_FILE=url "$SELF" init -rows 20 -documents 4
		psql -qAt "$SOURCE_DATABASE_URL" -c 'select count(*) from "llm-convo-monitor"' -c 'show default_transaction_read_only'
		psql -qAt "$DATABASE_URL" -c 'create schema bulkexport' -c 'select current_user'`)
	d.Env = append(d.Env, "SELF="+os.Args[0])
	d.begin(t)
	code := d.code(t)
	if got := d.out.String(); code != 0 || strings.Count(got, "20 conversations and 4 documents") != 1 || !strings.HasSuffix(got, "\n20\non\nbulkexport\n") {
		t.Errorf("exit code %d, out %q, err %s", code, got, &d.err)
	}
}

func TestFillSaysWhatItNeeds(t *testing.T) {
	d := prepare(t, "fill")
	d.begin(t)
	if code := d.code(t); code != 1 || !strings.Contains(d.err.String(), "-database") {
		t.Errorf("%d %s", code, &d.err)
	}
}
