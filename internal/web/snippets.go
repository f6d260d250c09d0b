package web

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// snippet is something to copy, which fetches or reads this very export.
type snippet struct {
	ID, Title, Text string
}

func snippets(publicURL string, j jobs.Job) []snippet {
	address, name := publicURL+"/v1/exports/"+j.ID+"/download", j.Result.Filename
	return []snippet{
		{"curl", "curl", fmt.Sprintf(`# API_KEY: your key on the platform
url=$(curl -fsS -H "Authorization: Bearer $API_KEY" -H 'Accept: application/json' \
  %s | jq -r .url)
curl -fS -C - -o %s "$url"
echo %s | sha256sum -c`, shellQuoted(address), shellQuoted(name), shellQuoted(j.Result.SHA256+"  "+name))},
		{"python", "Python", fmt.Sprintf(`import gzip, json
with gzip.open(%s, "rt", encoding="utf-8") as lines:
    for line in lines:
        row = json.loads(line)
        print(row["id"], row["created_at"])`, jsonQuoted(name))},
		{"duckdb", "DuckDB", fmt.Sprintf(`SELECT * FROM read_json(%s,
  format = 'newline_delimited', maximum_object_size = 1073741824,
  columns = {%s});`, sqlQuoted(name), columns[j.Kind])},
	}
}

// columns are named because DuckDB would else guess them from the first rows.
var columns = map[jobs.Kind]string{
	jobs.Conversations: "id: 'BIGINT', created_at: 'TIMESTAMPTZ', convo_id: 'VARCHAR', course_name: 'VARCHAR',\n    user_email: 'VARCHAR', convo: 'JSON'",
	jobs.Documents: "id: 'BIGINT', created_at: 'TIMESTAMPTZ', course_name: 'VARCHAR', s3_path: 'VARCHAR',\n    readable_filename: 'VARCHAR', " +
		"url: 'VARCHAR', base_url: 'VARCHAR', doc_groups: 'VARCHAR[]', contexts: 'JSON'",
}

func shellQuoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
func sqlQuoted(s string) string   { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// jsonQuoted is a string literal of Python, too.
func jsonQuoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return `""`
	}
	return string(b)
}
