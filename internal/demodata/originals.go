package demodata

import (
	"bytes"
	"context"
	"fmt"

	"github.com/minio/minio-go/v7"
)

// original is a file in the platform's bucket. Its path does not depend on the
// seed, so that the bucket can be filled without looking at the tables.
type original struct {
	filename, path, contentType string
	content                     []byte
}

var originals = []original{
	newOriginal("1", "lecture-01.pdf", "application/pdf", demoPDF()),
	newOriginal("2", "Übung 2 – Lösung.txt", "text/plain; charset=utf-8", []byte("x = 1\r\ny = 2\r\n")),
	newOriginal("3", "данные (1).csv", "text/csv", []byte("n,square\n1,1\n2,4\n3,9\n")),
	newOriginal("4", "empty.txt", "text/plain", nil),
}

func newOriginal(n, filename, contentType string, content []byte) original {
	path := "courses/" + DemoProject + "/de300000-0000-4000-8000-00000000000" + n + "-" + filename
	return original{filename, path, contentType, content}
}

// demoPDF returns a page with one line on it, the smallest that readers open.
func demoPDF() []byte {
	var b bytes.Buffer
	b.WriteString("%PDF-1.4\n")
	text := "BT /F1 24 Tf 72 720 Td (Demo lecture 1) Tj ET"
	var at []int
	for i, object := range []string{
		"<</Type/Catalog/Pages 2 0 R>>",
		"<</Type/Pages/Kids[3 0 R]/Count 1>>",
		"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
		fmt.Sprintf("<</Length %d>>stream\n%s\nendstream", len(text), text),
		"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
	} {
		at = append(at, b.Len())
		fmt.Fprintf(&b, "%d 0 obj\n%s\nendobj\n", i+1, object)
	}
	xref := b.Len()
	fmt.Fprintf(&b, "xref\n0 %d\n0000000000 65535 f \n", len(at)+1)
	for _, offset := range at {
		fmt.Fprintf(&b, "%010d 00000 n \n", offset)
	}
	fmt.Fprintf(&b, "trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n", len(at)+1, xref)
	return b.Bytes()
}

// FillOriginals puts a few original files into the platform's bucket: those of
// the demo project's first file documents.
func FillOriginals(ctx context.Context, mc *minio.Client, bucket string) error {
	for _, o := range originals {
		_, err := mc.PutObject(ctx, bucket, o.path, bytes.NewReader(o.content), int64(len(o.content)),
			minio.PutObjectOptions{ContentType: o.contentType})
		if err != nil {
			return fmt.Errorf("fill originals: %w", err)
		}
	}
	return nil
}
