package export

import "github.com/bulkexport/bulkexport/internal/jobs"

// LimitParts lowers what a file is cut by, so that tests reach its limits.
func (e *Exporter) LimitParts(least, aim, most int64) {
	e.parts = partRule{least: least, aim: aim, most: most, drain: int(least / 2)}
}

// PartSize is that of a plan's file, by S3's rule.
func PartSize(p jobs.Plan) int { return s3Parts.size(p) }

// For is an Exporter of the same worker into another bucket.
func (e *Exporter) For(b Bucket) *Exporter {
	other := *e
	other.bucket = b
	return &other
}
