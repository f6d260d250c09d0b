package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// The names of the contenders.
const (
	oursS3       = "ours-s3"
	oursLocal    = "ours-local"
	psqlGzip6    = "psql-gzip6"
	psqlPigz6    = "psql-pigz6"
	psqlGzip1    = "psql-gzip1"
	oldWay       = "old-way"
	readOnly     = "read-only"
	compressOnly = "compress-only"
)

// contender is one way to make the file, or a part of the way. It runs in
// processes of its own, so that its memory can be told from that of the bench.
type contender struct {
	name string
	// pack is the command that psql's output is piped into; nil: a child of this
	// program.
	pack []string
}

// contenders stand in the order in which each round runs them. The last two
// make no file: they are the floor, the work that nobody is spared.
var contenders = []contender{
	{name: oursS3},
	{name: oursLocal},
	{name: psqlGzip6, pack: []string{"gzip", "-6"}},
	{name: psqlPigz6, pack: []string{"pigz", "-6", "-p", "2"}},
	{name: psqlGzip1, pack: []string{"gzip", "-1"}},
	{name: oldWay},
	{name: readOnly},
	{name: compressOnly},
}

func contenderNames() (names []string) {
	for _, c := range contenders {
		names = append(names, c.name)
	}
	return names
}

// needs are the programs that must be installed.
func (c contender) needs() []string {
	if c.pack == nil {
		return nil
	}
	return []string{"psql", c.pack[0]}
}

// outcome is what a contender made. A child writes it to standard output.
type outcome struct {
	Rows   int64
	Raw    int64 // bytes of lines
	Bytes  int64 // of the file
	Upload *jobs.Upload
}

// task is what a contender is to do.
type task struct {
	kind jobs.Kind
	data *dataset
	dir  string // for its output, and its alone
	raw  string // file of lines, for compressOnly
}

// run runs the contender once and measures it.
func (c contender) run(ctx context.Context, m *meter, t task) (usage, outcome, error) {
	if c.pack != nil {
		return c.runPipe(ctx, m, t)
	}
	return c.runChild(ctx, m, t)
}

// runPipe is the rival that everybody has at hand. FETCH_COUNT keeps psql from
// holding the whole result; \copy would be faster to write and wrong, because
// its escaping breaks the JSON.
func (c contender) runPipe(ctx context.Context, m *meter, t task) (u usage, out outcome, err error) {
	file, err := os.Create(filepath.Join(t.dir, fileName))
	if err != nil {
		return u, out, err
	}
	defer file.Close()
	read, write, err := os.Pipe()
	if err != nil {
		return u, out, err
	}
	defer read.Close()
	defer write.Close()
	psql := exec.CommandContext(ctx, "psql", t.data.source, "-qAt", "-v", "FETCH_COUNT=100", "-c", projectSQL(t.kind))
	psql.Stdout, psql.Stderr = write, os.Stderr
	pack := exec.CommandContext(ctx, c.pack[0], c.pack[1:]...)
	pack.Stdin, pack.Stdout, pack.Stderr = read, file, os.Stderr
	// The packer sees the end only when nobody else holds the pipe open.
	u, err = m.run(ctx, []*exec.Cmd{psql, pack}, read, write)
	if err != nil {
		return u, out, err
	}
	info, err := file.Stat()
	if err != nil {
		return u, out, err
	}
	return u, outcome{Bytes: info.Size()}, nil
}

func (c contender) runChild(ctx context.Context, m *meter, t task) (u usage, out outcome, err error) {
	self, err := os.Executable()
	if err != nil {
		return u, out, err
	}
	cmd := exec.CommandContext(ctx, self, childCommand, c.name, string(t.kind), t.dir, t.raw)
	cmd.Env = append(os.Environ(), t.data.env()...)
	answer := &collector{}
	cmd.Stdout, cmd.Stderr = answer, os.Stderr
	if u, err = m.run(ctx, []*exec.Cmd{cmd}); err != nil {
		return u, out, err
	}
	if err := json.Unmarshal(answer.b, &out); err != nil {
		return u, out, fmt.Errorf("the child's answer: %w", err)
	}
	return u, out, nil
}

// collector keeps what is written to it.
type collector struct{ b []byte }

// Write implements io.Writer.
func (c *collector) Write(p []byte) (int, error) {
	c.b = append(c.b, p...)
	return len(p), nil
}

// childCommand is the hidden subcommand that runs one contender.
const childCommand = "child"

func child(ctx context.Context, args []string) error {
	if len(args) != 5 {
		return fmt.Errorf("%s is for the bench itself", childCommand)
	}
	name, kind, dir, raw := args[1], jobs.Kind(args[2]), args[3], args[4]
	var out outcome
	var err error
	switch name {
	case oursS3:
		out, err = exportToS3(ctx, kind)
	case oursLocal:
		out, err = exportToDisk(ctx, kind, dir)
	case oldWay:
		out, err = exportOldWay(ctx, kind, dir)
	case readOnly:
		out, err = readAll(ctx, kind)
	case compressOnly:
		out, err = compressAll(raw)
	default:
		return fmt.Errorf("%q is no child", name)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}
