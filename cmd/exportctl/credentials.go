package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
)

// maxTokenFile is far above any token.
const maxTokenFile = 64 << 10

// token reads the caller's token: from a file if one is named, else from the
// environment.
func (a *app) token() (string, error) {
	path := first(a.tokenFile, a.env("EXPORT_API_TOKEN_FILE"))
	if path == "" {
		if token := strings.TrimSpace(a.env("EXPORT_API_TOKEN")); token != "" {
			return token, nil
		}
		return "", credentialsError{errors.New("there is no token: set EXPORT_API_TOKEN, or name a file with --token-file")}
	}
	f, err := os.Open(path)
	if err != nil {
		return "", credentialsError{fmt.Errorf("the token's file: %w", err)}
	}
	defer func() { _ = f.Close() }() // only read
	is, err := f.Stat()
	if err != nil {
		return "", credentialsError{fmt.Errorf("the token's file: %w", err)}
	}
	// Permissions of other systems say nothing in these bits.
	if is.Mode().IsRegular() && is.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
		return "", credentialsError{fmt.Errorf("others can read %s: take that from them with chmod 600", path)}
	}
	b, err := io.ReadAll(io.LimitReader(f, maxTokenFile))
	token := strings.TrimSpace(string(b))
	if err == nil && token == "" {
		err = errors.New("it is empty")
	}
	if err != nil {
		return "", credentialsError{fmt.Errorf("the token's file %s: %w", path, err)}
	}
	return token, nil
}
