package stack

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// memory is what a data folder keeps over restarts, so that bookmarks and
// copied variables stay true.
type memory struct {
	Ports            map[string]int `json:"ports"`
	PostgresPassword string         `json:"postgres_password"`
	S3Secret         string         `json:"s3_secret"`
}

func memoryFile(dir string) string { return filepath.Join(dir, "state.json") }

// recall reads what the folder remembers; a new folder gets secrets of its own.
func recall(dir string) (memory, error) {
	m := memory{PostgresPassword: rand.Text(), S3Secret: rand.Text()}
	b, err := os.ReadFile(memoryFile(dir))
	if errors.Is(err, os.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, fmt.Errorf("data folder: %w", err)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("%s is broken: %w; remove the folder to start anew", memoryFile(dir), err)
	}
	return m, nil
}

func (m memory) keep(dir string) error {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	return writeFile(memoryFile(dir), append(b, '\n'))
}

// writeFile writes a file whole or not at all, for its owner alone.
func writeFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
