package redisurl_test

import (
	"strings"
	"testing"

	"github.com/bulkexport/bulkexport/internal/redisurl"
)

func TestURLs(t *testing.T) {
	for raw, want := range map[string]string{
		"redis://localhost:6379/3":                            "",
		"rediss://u:p@localhost:6379":                         "",
		"redis-sentinel://a:1,b:2,c:3/0?master=m&tls=true":    "",
		"redis-sentinel://a:1/0?master=m&sentinel_password=p": "",
		"redis-cluster://u:p@a:1,b:2?tls=true":                "",
		"redis-sentinel://a:1":                                "master",
		"redis-cluster://a:1/2":                               "database",
		"redis-cluster://a:1?bad=option":                      "bad",
		"http://u:hidden@localhost":                           "must be a URL",
		"redis://u:hidden@local host":                         "must be a URL",
		"redis-cluster://u:hidden@local host":                 "must be a URL",
		"redis://u:hidden@localhost/no-number":                "must be a URL",
		"localhost:6379":                                      "must be a URL",
	} {
		c, err := redisurl.Open(raw)
		if err == nil {
			_ = c.Close()
		}
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hidden")) {
			t.Errorf("%s: %v", raw, err)
		}
	}
}
