package config

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// enough is the least that starts.
var enough = []string{
	"DATABASE_URL=postgres://u:secret-db@h/d", "REDIS_URL=redis://:secret-redis@h", "PLATFORM_REDIS_URL=redis://h",
	"S3_ENDPOINT=http://h", "S3_BUCKET=b", "S3_ACCESS_KEY_ID=k", "S3_SECRET_ACCESS_KEY=secret-s3",
}

func with(extra ...string) []string { return append(append([]string{}, enough...), extra...) }

func TestDefaults(t *testing.T) {
	c, err := Load(with("PUBLIC_URL=https://h/path/"))
	if err != nil {
		t.Fatal(err)
	}
	if c.SourceDatabaseURL != c.DatabaseURL || c.GzipLevel != 5 || c.PublicURL != "https://h/path" || !c.AutoMigrate {
		t.Errorf("%+v", c)
	}
}

// A person who starts it should have to try once, not ten times.
func TestAllErrorsAtOnce(t *testing.T) {
	_, err := Load([]string{"GZIP_LEVEL=10", "PUBLIC_URL=export", "SOURCE_CONNS=x", "LINK_TTL=48h"})
	if err == nil {
		t.Fatal("no error")
	}
	for _, name := range []string{"DATABASE_URL", "REDIS_URL", "PLATFORM_REDIS_URL", "S3_ENDPOINT", "S3_BUCKET", "GZIP_LEVEL", "PUBLIC_URL", "SourceConns", "LINK_TTL"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("says nothing about %s:\n%v", name, err)
		}
	}
}

func TestSecretsFromFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte("postgres://from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(append(enough[1:], "DATABASE_URL_FILE="+path))
	if err != nil || c.DatabaseURL != "postgres://from-file" {
		t.Errorf("%q, %v", c.DatabaseURL, err)
	}
	if _, err := Load(with("DATABASE_URL_FILE=" + path)); err == nil {
		t.Error("a variable and its file were both taken")
	}
	if _, err := Load(append(enough[1:], "DATABASE_URL_FILE="+path+"-none")); err == nil {
		t.Error("a file that is missing was taken")
	}
}

func TestShowHidesSecrets(t *testing.T) {
	c, err := Load(enough)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := c.Show(&b); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "secret-") {
		t.Errorf("shows a secret:\n%s", b.String())
	}
	if !strings.Contains(b.String(), "S3_SECRET_ACCESS_KEY=(set)") || !strings.Contains(b.String(), "S3_BUCKET=b\n") {
		t.Errorf("got\n%s", b.String())
	}
}

func TestEdges(t *testing.T) {
	c, err := Load(with("ALLOWED_ORIGINS=https://Chat.example.org,http://localhost:3000", "TRUSTED_PROXIES=10.0.0.1,fd00::/8"))
	if err != nil || strings.Join(c.AllowedOrigins, " ") != "https://chat.example.org http://localhost:3000" {
		t.Errorf("%v, %v", c.AllowedOrigins, err)
	}
	if len(c.TrustedProxies) != 2 || c.TrustedProxies[0].String() != "10.0.0.1/32" || c.TrustedProxies[1].String() != "fd00::/8" {
		t.Errorf("%v", c.TrustedProxies)
	}
	for _, bad := range []string{
		"ALLOWED_ORIGINS=*", "ALLOWED_ORIGINS=https://*.example.org", "ALLOWED_ORIGINS=https://h/path", "ALLOWED_ORIGINS=null",
		"TRUSTED_PROXIES=proxy", "PUBLIC_URL=https://h/?a=b", "PUBLIC_URL=https://u:p@h", "RATE_LIMIT=-1",
	} {
		if _, err := Load(with(bad)); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

func TestMail(t *testing.T) {
	c, err := Load(with("SMTP_URL=smtp://u:secret-mail@h:587", "MAIL_FROM=Bulk Export <a@b>", "DISPLAY_TZ=America/Chicago", "MAIL_TELL_ADMINS=false"))
	if err != nil || c.MailTellAdmins || c.Zone().String() != "America/Chicago" {
		t.Errorf("%+v, %v", c, err)
	}
	if c, err := Load(enough); err != nil || !c.MailTellAdmins || c.Zone().String() != "UTC" {
		t.Errorf("without any: %v, %v", c.Zone(), err)
	}
	for bad, says := range map[string]string{
		"SMTP_URL=smtp://h":             "MAIL_FROM is needed",
		"SMTP_URL=http://secret-mail@h": "SMTP_URL must be",
		"MAIL_FROM=nobody":              "MAIL_FROM must be",
		"DISPLAY_TZ=Chicago":            "DISPLAY_TZ must be",
		"DISPLAY_TZ=Local":              "DISPLAY_TZ must be",
		"MAIL_TELL_ADMINS=perhaps":      "MailTellAdmins",
	} {
		if _, err := Load(with(bad)); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "secret-mail") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
