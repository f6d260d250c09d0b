//go:build !faultpoints

package main

import (
	"github.com/bulkexport/bulkexport/internal/export"
	"github.com/bulkexport/bulkexport/internal/jobs"
)

// plant is where a build for the fault suite (tag faultpoints) kills itself.
func plant(_ *jobs.RunnerOptions, a jobs.Attempts, b export.Bucket) (jobs.Attempts, export.Bucket) {
	return a, b
}
