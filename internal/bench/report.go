package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/bulkexport/bulkexport/internal/demodata"
)

// cores is how many processors the contenders and the servers share.
func cores() int { return runtime.NumCPU() }

// heading says on what the figures were measured.
func (s *stage) heading(ctx context.Context, w *strings.Builder, o options) error {
	var postgres, toast string
	err := s.admin.QueryRow(ctx, `select current_setting('server_version'), current_setting('default_toast_compression')`).Scan(&postgres, &toast)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%s; %s, %s, %d cores that exporter, Postgres and object store share; Postgres %s, TOAST %s, over TCP of the same machine; everything in cache.\n",
		time.Now().UTC().Format(time.DateOnly), runtime.Version(), cpuModel(), cores(), postgres, toast)
	fmt.Fprintf(w, "Level %d, %d readers. %d rounds, every contender once in each; median (least–most).\n", gzipLevel, sourceConns, o.runs)
	fmt.Fprintf(w, "CPU: contender, Postgres and object store together. Peak: of the contender's own processes, summed up.\n\n")
	return nil
}

func cpuModel() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown CPU"
	}
	for line := range bytes.Lines(info) {
		if name, value, _ := strings.Cut(string(line), ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown CPU"
}

// each gathers one figure of a contender over the rounds.
func (r *result) each(name string, figure func(usage) float64) (s series) {
	for _, u := range r.runs[name] {
		s = append(s, figure(u))
	}
	return s
}

func (r *result) wall(name string) series {
	return r.each(name, func(u usage) float64 { return u.wall })
}

func (r *result) cpu(name string) series {
	return r.each(name, func(u usage) float64 { return u.cpu })
}

// floor is the time in which all cores, never idle, would read and compress.
func (r *result) floor() (s series) {
	compress := r.cpu(compressOnly)
	for i, read := range r.cpu(readOnly) {
		if i < len(compress) {
			s = append(s, (read+compress[i])/float64(r.cores))
		}
	}
	return s
}

// table prints a kind's contenders.
func (r *result) table(w *strings.Builder) {
	fmt.Fprintf(w, "### %s\n\n", r.kind)
	fmt.Fprintf(w, "%s of lines, %d rows, %.1f kB a row on average; project %s, %.0f %% of the table, its ids between those of others.\n\n",
		megabytes(r.raw), r.rows, float64(r.raw)/float64(max(r.rows, 1))/1e3, demodata.DemoProject, 100*r.share)
	fmt.Fprintln(w, "| | wall s | CPU s | of it Postgres | peak MiB | file MB | to gzip -6 |")
	fmt.Fprintln(w, "| --- | --- | --- | --- | --- | --- | --- |")
	for _, c := range r.chosen {
		postgres := r.each(c.name, func(u usage) float64 { return u.postgres })
		peak := r.each(c.name, func(u usage) float64 { return float64(u.peak) / (1 << 20) })
		fmt.Fprintf(w, "| %s | %s | %s | %.1f | %s | %s | %s |\n",
			c.name, r.wall(c.name).format(2), r.cpu(c.name).format(2), postgres.median(), peak.format(0), r.size(c), r.relativeSize(c))
	}
	if floor := r.floor(); floor != nil {
		fmt.Fprintf(w, "| **floor**: CPU of the two above / %d | %s | | | | | |\n", r.cores, floor.format(2))
	}
	if r.sameRows {
		fmt.Fprintf(w, "\n%s and %s wrote the same %d ids in the same order.\n", oursLocal, psqlGzip6, r.rows)
	}
	fmt.Fprintln(w)
}

func (r *result) size(c contender) string {
	if r.made[c.name].Bytes == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f", float64(r.made[c.name].Bytes)/1e6)
}

func (r *result) relativeSize(c contender) string {
	own, gzip := r.made[c.name].Bytes, r.made[psqlGzip6].Bytes
	if own == 0 || gzip == 0 {
		return ""
	}
	return fmt.Sprintf("%.3f", float64(own)/float64(gzip))
}

// ratioTable prints how many times as long the others take.
func ratioTable(w *strings.Builder, results []result) {
	rows := []struct {
		name  string
		ratio func(*result) series
	}{
		{"psql, gzip -6 / ours-local", func(r *result) series { return r.wall(psqlGzip6).per(r.wall(oursLocal)) }},
		{"psql, pigz -6 -p 2 / ours-local", func(r *result) series { return r.wall(psqlPigz6).per(r.wall(oursLocal)) }},
		{"psql, gzip -1 / ours-local", func(r *result) series { return r.wall(psqlGzip1).per(r.wall(oursLocal)) }},
		{"old way / ours-local", func(r *result) series { return r.wall(oldWay).per(r.wall(oursLocal)) }},
		{"ours-local / floor", func(r *result) series { return r.wall(oursLocal).per(r.floor()) }},
		{"psql, gzip -6 / ours-s3", func(r *result) series { return r.wall(psqlGzip6).per(r.wall(oursS3)) }},
	}
	header, rule := "| wall time, median of the rounds' ratios |", "| --- |"
	for _, r := range results {
		header += " " + string(r.kind) + " |"
		rule += " --- |"
	}
	fmt.Fprintf(w, "### Ratios\n\n%s\n%s\n", header, rule)
	for _, row := range rows {
		fmt.Fprintf(w, "| %s |", row.name)
		for i := range results {
			fmt.Fprintf(w, " %s |", row.ratio(&results[i]).format(2))
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w)
}

// growth shows that time grows with the export and memory does not.
func (s *stage) growth(ctx context.Context, w *strings.Builder, o options) error {
	chosen, err := choose([]string{oursLocal, oursS3})
	if err != nil {
		return err
	}
	fmt.Fprintln(w, "### Growth")
	fmt.Fprintln(w, "\n| | lines MB | rows | wall s | MB/s of lines | peak MiB |\n| --- | --- | --- | --- | --- | --- |")
	for _, size := range o.sizes {
		for _, kind := range o.kinds {
			r, err := s.measure(ctx, kind, size, o.runs, chosen)
			if err != nil {
				return fmt.Errorf("%s of %s: %w", megabytes(size), kind, err)
			}
			for _, c := range chosen {
				speed := r.each(c.name, func(u usage) float64 { return float64(r.raw) / 1e6 / u.wall })
				peak := r.each(c.name, func(u usage) float64 { return float64(u.peak) / (1 << 20) })
				fmt.Fprintf(w, "| %s, %s | %.0f | %d | %s | %s | %s |\n",
					kind, c.name, float64(r.raw)/1e6, r.rows, r.wall(c.name).format(2), speed.format(0), peak.format(0))
			}
		}
	}
	return nil
}
