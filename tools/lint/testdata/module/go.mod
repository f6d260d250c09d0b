module github.com/bulkexport/bulkexport

go 1.26.0
