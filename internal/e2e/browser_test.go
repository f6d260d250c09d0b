package e2e

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

// axe is Deque's checker of accessibility, as npm has it.
//
//go:embed testdata/axe-4.14.1.min.js
var axe string

// browser is a real one, headless, before the real programs.
type chromium struct {
	*service
	ctx       context.Context
	downloads string

	mu sync.Mutex
	// complaints are violations of the pages' own policy, and errors of scripts.
	complaints []string
}

// chromium starts a browser for a person in a time zone. What a page must not
// do fails the test at its end.
func (s *service) chromium(zone string) *chromium {
	s.t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		s.t.Fatal("these tests need a browser: install Debian's package chromium")
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox,
		chromedp.Flag("disable-gpu", true), chromedp.Env("TZ="+zone), chromedp.WindowSize(1280, 900))
	all, stop := chromedp.NewExecAllocator(context.Background(), opts...)
	s.t.Cleanup(stop)
	ctx, end := chromedp.NewContext(all)
	s.t.Cleanup(end)
	c := &chromium{service: s, ctx: ctx, downloads: s.t.TempDir()}
	// The first call starts the browser, which then lives as long as its context.
	err = chromedp.Do(ctx)
	if err == nil {
		err = chromedp.Listen(ctx, c.listen)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	send(c, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: zone})
	_, err = chromedp.CallBrowser(ctx, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{
		Behavior: browser.SetDownloadBehaviorBehaviorAllow, DownloadPath: c.downloads,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, complaint := range c.complaints {
			s.t.Errorf("the browser complains: %s", complaint)
		}
		if s.t.Failed() {
			s.t.Logf("the browser was at %s", c.text("body"))
		}
	})
	return c
}

// listen keeps what the browser holds against a page.
func (c *chromium) listen(event any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch e := event.(type) {
	case *log.EventEntryAdded:
		if e.Entry.Source == log.EntrySourceSecurity || strings.Contains(e.Entry.Text, "Content Security Policy") {
			c.complaints = append(c.complaints, e.Entry.Text)
		}
	case *runtime.EventExceptionThrown:
		c.complaints = append(c.complaints, e.ExceptionDetails.Text)
	}
}

// do carries steps out, each within the patience of all tests.
func (c *chromium) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		c.t.Fatalf("%s: %v", what, err)
	}
}

// send sends the browser a command.
func send[P, R any](c *chromium, cmd cdp.Command[P, R], params P) R {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, patience)
	defer cancel()
	r, err := chromedp.Call(ctx, cmd, params)
	if err != nil {
		c.t.Fatalf("%s: %v", cmd.Method, err)
	}
	return r
}

// eval is a value that a script gives.
func eval[T any](c *chromium, js string) T {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](js, chromedp.EvalAwaitPromise))
	if err != nil {
		c.t.Fatalf("%.80s: %v", js, err)
	}
	return v
}

func (c *chromium) open(path string) {
	c.t.Helper()
	c.do("open "+path, chromedp.Navigate(c.url+path), chromedp.WaitReady("footer"))
}

// text is what stands in an element; empty if it is not there.
func (c *chromium) text(selector string) string {
	ctx, cancel := context.WithTimeout(c.ctx, 10*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](fmt.Sprintf(`(document.querySelector(%q) || {innerText: ""}).innerText`, selector)))
	if err != nil {
		return "" // the page is changing
	}
	return text
}

// sees waits for words.
func (c *chromium) sees(words ...string) {
	c.t.Helper()
	for _, w := range words {
		c.eventually("the page says "+w, func() bool { return strings.Contains(c.text("body"), w) })
	}
}

// press clicks the link or the button with these words.
func (c *chromium) press(words string) {
	c.t.Helper()
	c.do("press "+words, chromedp.Click(fmt.Sprintf(`//main//*[(self::a or self::button) and starts-with(normalize-space(.), %q)]`, words)))
}

// signIn goes the whole way, from the first page.
func (c *chromium) signIn(email string) {
	c.t.Helper()
	c.open("/")
	c.press("Sign in")
	c.provider(email)
	c.sees(email)
}

// provider fills the OpenID provider's form in.
func (c *chromium) provider(email string) {
	c.t.Helper()
	c.do("the provider's form", chromedp.WaitVisible("#username"), chromedp.SendKeys("#username", email),
		chromedp.SendKeys("#password", "demo"), chromedp.Click("button[type=submit]"), chromedp.WaitVisible("footer"))
}

// a11y looks at a page as it is with axe, in light and dark, narrow and wide.
func (c *chromium) a11y(name string) {
	c.t.Helper()
	for _, width := range []int64{1280, 360} {
		for _, scheme := range []string{"light", "dark"} {
			c.look(width, scheme)
			c.axe(fmt.Sprintf("%s, %d px, %s", name, width, scheme))
			if eval[bool](c, `document.documentElement.scrollWidth > document.documentElement.clientWidth`) {
				c.t.Errorf("%s, %d px: it must be scrolled sideways", name, width)
			}
			c.shoot(fmt.Sprintf("%s-%d-%s", name, width, scheme))
		}
	}
	if eval[int](c, `document.querySelectorAll("details").forEach(d => { d.open = true; }), document.querySelectorAll("details").length`) > 0 {
		c.axe(name + ", all of it open")
	}
	c.look(1280, "light")
}

// axe checks what is shown.
func (c *chromium) axe(what string) {
	c.t.Helper()
	eval[any](c, axe+"; 0")
	for _, v := range eval[[]struct{ ID, Help, Nodes string }](c, axeRun) {
		c.t.Errorf("%s: %s: %s: %s", what, v.ID, v.Help, v.Nodes)
	}
}

const axeRun = `axe.run({runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}).then(r => r.violations.map(v =>
	({ID: v.id, Help: v.help, Nodes: v.nodes.map(n => n.html.slice(0, 200) + " " + n.any.map(a => a.message).join()).join("\n").slice(0, 1000)})))`

// look sets the width of the window, and what the person prefers.
func (c *chromium) look(width int64, scheme string) {
	c.t.Helper()
	send(c, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 900, DeviceScaleFactor: 1, Mobile: width < 500})
	send(c, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
}

// shoot keeps a picture of the whole page where SCREENSHOTS names a folder.
func (c *chromium) shoot(name string) {
	c.t.Helper()
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		return
	}
	beyond := true
	png := send(c, page.CaptureScreenshot, page.CaptureScreenshotParams{CaptureBeyondViewport: &beyond}).Data
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		c.t.Fatal(err)
	}
}

// withSignIn are the settings that let people in.
func withSignIn(t *testing.T) []string {
	t.Helper()
	return []string{"OIDC_ISSUER=" + testenv.Var(t, "OIDC_ISSUER"), "OIDC_CLIENT_ID=" + testenv.Var(t, "OIDC_CLIENT_ID"),
		"OIDC_CLIENT_SECRET=" + testenv.Var(t, "OIDC_CLIENT_SECRET"), "SMTP_URL=" + testenv.Var(t, "SMTP_URL"), "MAIL_FROM=" + testenv.Var(t, "MAIL_FROM")}
}

// An owner signs in, clicks, and holds a right file.
func TestPagesFromSignInToFile(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	fill(t, w, demodata.Options{Seed: 1, Conversations: demodata.Volume{Rows: 2000}, Documents: demodata.Volume{Rows: 20}})
	s := start(t, w, 1, withSignIn(t)...)
	c := s.chromium("America/Chicago")
	c.open("/")
	c.a11y("signed-out")
	c.signIn(demodata.OwnerEmail)
	c.sees("Times are those of America/Chicago", demodata.DemoProject)
	c.a11y("projects")
	c.press(demodata.DemoProject)
	c.sees("Size of the file", "Nothing was exported")
	c.a11y("project-empty")
	c.press("Start the export")
	c.sees("Download the file")
	c.a11y("ready")
	id := c.id()
	job := s.get(id)
	if job.State != "succeeded" {
		t.Fatalf("%+v", job)
	}
	c.press("Download the file")
	file := filepath.Join(c.downloads, job.Result.Filename)
	c.eventually("the file is there", func() bool { _, err := os.Stat(file); return err == nil })
	body, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c.openMail(id)
	c.sees("Download the file", "downloaded the file", demodata.OwnerEmail+" that it is ready: was sent")
	if sum := sha256.Sum256(body); hex.EncodeToString(sum[:]) != job.Result.SHA256 {
		t.Errorf("the browser's file has sha256 %x, not %s", sum, job.Result.SHA256)
	}
}

// openMail finds the owner's mail about an export in the stack's inbox, and
// follows its link.
func (c *chromium) openMail(id string) {
	c.t.Helper()
	var letter testenv.Mail
	c.eventually("a mail about the export", func() bool {
		for _, m := range testenv.Inbox(c.t, id) {
			if slices.Contains(m.To, demodata.OwnerEmail) {
				letter = m
			}
		}
		return letter.ID != 0
	})
	c.do("the inbox", chromedp.Navigate(fmt.Sprintf("%s/message/%d", testenv.Var(c.t, "DEVSTACK_INBOX_URL"), letter.ID)),
		chromedp.Click(fmt.Sprintf(`//pre/a[contains(., %q)]`, id)), chromedp.WaitVisible("footer"))
	if got := c.id(); got != id {
		c.t.Errorf("the mail led to %s", got)
	}
}

// id is the export's whose page is open.
func (c *chromium) id() string {
	c.t.Helper()
	at, _, _ := strings.Cut(strings.TrimPrefix(eval[string](c, "location.href"), c.url+"/exports/"), "?")
	return at
}
