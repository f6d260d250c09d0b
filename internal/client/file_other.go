//go:build !unix

package client

import "os"

// lock does nothing where there is no flock.
func lock(*os.File) error { return nil }

// rename closes the file first: an open one cannot be renamed everywhere.
func rename(f *os.File, from, to string) error {
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(from, to)
}
