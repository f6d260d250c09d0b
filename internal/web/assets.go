package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
)

//go:embed assets
var assets embed.FS

// assetsPath is where styles and scripts are. Each has a hash of itself in its
// address, and so may be kept for ever.
const assetsPath = "/assets/"

var assetURLs, assetFiles = hashAssets()

// hashAssets gives each file its address below the public URL, and back.
func hashAssets() (urls map[string]string, files map[string][]byte) {
	urls, files = make(map[string]string), make(map[string][]byte)
	entries, err := assets.ReadDir("assets")
	if err != nil {
		panic(err) // it is embedded
	}
	for _, e := range entries {
		body, err := assets.ReadFile("assets/" + e.Name())
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(body)
		at := assetsPath + hex.EncodeToString(sum[:6]) + "/" + e.Name()
		urls[e.Name()], files[at] = at, body
	}
	return urls, files
}

func serveAsset(w http.ResponseWriter, r *http.Request) {
	body, ok := assetFiles[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	w.Header().Del("Vary")
	http.ServeContent(w, r, path.Base(r.URL.Path), time.Time{}, bytes.NewReader(body))
}

// Stylesheet is the address of the pages' look, for those that others make.
func Stylesheet(publicURL string) string { return publicURL + assetURLs["app.css"] }

// basePath is the path of the public URL, without a slash at the end.
func basePath(publicURL string) string {
	u, err := url.Parse(publicURL)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(u.EscapedPath(), "/")
}
