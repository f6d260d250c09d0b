package demo

import (
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"unicode/utf8"
)

// save writes what it reads to path and returns its size and checksum.
func save(path string, r io.Reader) (n int64, sum string, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return 0, "", err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, "", err
	}
	hash := sha256.New()
	n, err = io.Copy(io.MultiWriter(f, hash), r)
	return n, hex.EncodeToString(hash.Sum(nil)), errors.Join(err, f.Close())
}

// shown is how much of the first row fits a terminal.
const shown = 600

// inspect counts the rows of a file and returns the beginning of the first.
func inspect(path string) (first string, rows int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return "", 0, fmt.Errorf("gunzip %s: %w", path, err)
	}
	r := bufio.NewReaderSize(z, 1<<20)
	head, err := r.Peek(2 * shown)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", 0, fmt.Errorf("gunzip %s: %w", path, err)
	}
	first = beginning(head)
	for {
		_, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF):
			return first, rows, nil
		case err == nil:
			rows++
		case !errors.Is(err, bufio.ErrBufferFull): // the row goes on
			return "", 0, fmt.Errorf("gunzip %s: %w", path, err)
		}
	}
}

// beginning cuts b at its first line's end, or at a character's end near the
// limit.
func beginning(b []byte) string {
	for i, c := range b {
		if c == '\n' {
			b = b[:i]
			break
		}
	}
	if len(b) <= shown {
		return string(b)
	}
	end := shown
	for !utf8.RuneStart(b[end]) {
		end--
	}
	return string(b[:end]) + " …"
}
