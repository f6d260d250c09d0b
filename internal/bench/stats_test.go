package main

import (
	"math"
	"slices"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		in   series
		want float64
	}{
		{series{3}, 3},
		{series{9, 1, 5}, 5},
		{series{4, 1, 2, 100}, 3},
	} {
		before := slices.Clone(c.in)
		if got := c.in.median(); got != c.want {
			t.Errorf("median of %v is %v, want %v", c.in, got, c.want)
		}
		if !slices.Equal(c.in, before) {
			t.Errorf("%v was put in another order, and its rounds are lost", before)
		}
	}
	if got := (series{}).median(); !math.IsNaN(got) {
		t.Errorf("median of nothing is %v", got)
	}
}

// The median of the ratios is not the ratio of the medians: a round in which
// the machine was slow for both counts like any other.
func TestRatios(t *testing.T) {
	rival, ours := series{40, 80, 42}, series{10, 20, 14}
	ratios := rival.per(ours)
	if !slices.Equal(ratios, series{4, 4, 3}) {
		t.Fatalf("ratios are %v", ratios)
	}
	if got := ratios.median(); got != 4 {
		t.Errorf("median of the ratios is %v", got)
	}
	if got := rival.per(nil); got != nil {
		t.Errorf("ratios to a contender that did not run: %v", got)
	}
}

func TestFormat(t *testing.T) {
	if got := (series{2.04, 1.5, 3.26}).format(1); got != "2.0 (1.5–3.3)" {
		t.Error(got)
	}
	if got := (series(nil)).format(2); got != "–" {
		t.Error(got)
	}
}

func TestParseSize(t *testing.T) {
	for in, want := range map[string]int64{"64MB": 64e6, "0.25GB": 250e6, "1GB": 1e9} {
		if got, err := parseSize(in); err != nil || got != want {
			t.Errorf("%s is %d, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "1", "GB", "-1GB", "1GiB"} {
		if got, err := parseSize(in); err == nil {
			t.Errorf("%q is %d", in, got)
		}
	}
}

// A process may have any name, and its children's time counts.
func TestParseStat(t *testing.T) {
	got, err := parseStat("7 (a) b) R 3 7 7 0 -1 4194560 1 2 3 4 100 20 30 4 20 0 1 0 5")
	if want := (process{parent: 3, ticks: 154}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestTree(t *testing.T) {
	all := processTable{1: {ticks: 1000}, 2: {parent: 1, ticks: 200}, 3: {parent: 2, ticks: 50}, 4: {parent: 1, ticks: 7}}
	if got := all.seconds(2); got != 2.5 {
		t.Errorf("%v s", got)
	}
	if all.below(4, 2) || !all.below(3, 1) || !all.below(2, 2) {
		t.Error("the tree is wrong")
	}
}
