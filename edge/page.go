package edge

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"html/template"
	"net/http"
	"strconv"
	"strings"

	"tljh/internal/layout"
)

// trouble is what is told when there is no answer from behind the door.
type trouble struct {
	Status int
	Title  string
	Text   string
	Unit   string // whose journal an admin should look into
	Retry  int    // seconds after which it makes sense to come back; 0 when nobody knows
	Home   bool   // the way to the hub is of use
}

var (
	proxyAway = trouble{
		Status: http.StatusServiceUnavailable, Title: "The hub is starting", Unit: layout.ProxyUnit, Retry: 5,
		Text: "Its proxy does not answer yet. This usually takes a few seconds, and what runs on the hub goes on running.",
	}
	hubAway = trouble{
		Status: http.StatusServiceUnavailable, Title: "The hub is restarting", Unit: layout.HubUnit, Retry: 5,
		Text: "It does not answer yet. This usually takes a few seconds, and what runs on the hub goes on running.",
	}
	busy = trouble{
		Status: http.StatusServiceUnavailable, Title: "The hub is starting, and many are waiting", Unit: layout.ProxyUnit, Retry: 10,
		Text: "More people than can wait in line want to come in.",
	}
	serverAway = trouble{
		Status: http.StatusServiceUnavailable, Title: "This server does not answer", Unit: "'jupyter-*'", Retry: 10, Home: true,
		Text: "It may have been stopped, or it may have run out of memory. If it does not come back, start it again from the hub.",
	}
	nowhere = trouble{
		Status: http.StatusNotFound, Title: "There is nothing here", Home: true,
		Text: "The hub of this server has another address.",
	}
	headerTooBig = trouble{
		Status: http.StatusRequestHeaderFieldsTooLarge, Title: "Your browser sends too much with its request",
		Text: "Most of it is cookies that this server's pages have set. Remove the cookies of this site in your browser's settings, then log in again. If it is the address that is too long, use a shorter one.",
	}
	crowded = trouble{
		Status: http.StatusServiceUnavailable, Title: "Too many big requests at once", Unit: layout.EdgeUnit, Retry: 5,
		Text: "The cookies that your browser sends are big, and others send such requests, too. Try again in a moment, or remove the cookies of this site in your browser's settings.",
	}
	bodyTooBig = trouble{
		Status: http.StatusRequestEntityTooLarge, Title: "This request is too large for the hub", Home: true,
		Text: "The hub takes 256 KiB. Files go to a server: upload them there.",
	}
	lost = trouble{
		Status: http.StatusBadGateway, Title: "The connection to the hub was lost", Unit: layout.ProxyUnit,
		Text: "It ended before the answer came. Your request may or may not have been carried out.",
	}
)

func troubleOf(err error) trouble {
	var dial dialError
	switch {
	case errors.Is(err, errBusy):
		return busy
	case errors.Is(err, errHubAway):
		return hubAway
	case errors.Is(err, errServerAway):
		return serverAway
	case errors.Is(err, errNowhere):
		return nowhere
	case errors.Is(err, errProxyAway), errors.As(err, &dial):
		return proxyAway
	}
	return lost
}

// fail answers a request that got no answer from behind the door.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		s.tell(w, r, bodyTooBig)
		return
	}
	if body, ok := r.Context().Value(bodyKey{}).(*incoming); ok && body.failed.Load() {
		w.Header().Set("Connection", "close")
		http.Error(w, "The request did not arrive completely.", http.StatusRequestTimeout)
		return
	}
	if errors.Is(err, context.Canceled) {
		panic(http.ErrAbortHandler) // nobody is there to read an answer
	}
	if errors.Is(err, errNowhere) && r.URL.Path == "/" {
		w.Header().Set("Location", s.options.BaseURL)
		w.WriteHeader(http.StatusFound)
		return
	}
	s.tell(w, r, troubleOf(err))
}

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Option("missingkey=error").Parse(pageText))

func (s *Server) tell(w http.ResponseWriter, r *http.Request, t trouble) {
	body, kind := t.words(r, s.options.BaseURL)
	header := w.Header()
	header.Set("Content-Type", kind)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'")
	if t.Retry > 0 {
		header.Set("Retry-After", strconv.Itoa(t.Retry))
	}
	w.WriteHeader(t.Status)
	_, _ = w.Write(body)
}

// words returns what is told, and of which type it is.
func (t trouble) words(r *http.Request, home string) ([]byte, string) {
	switch wants(r) {
	case "json":
		body, _ := json.Marshal(map[string]any{"status": t.Status, "message": t.Title + ". " + t.Text})
		return append(body, '\n'), "application/json"
	case "html":
		safe := r.Method == http.MethodGet || r.Method == http.MethodHead
		var body bytes.Buffer
		if page.Execute(&body, map[string]any{"Trouble": t, "Refresh": safe && t.Retry > 0, "Again": safe, "Home": home}) == nil {
			return body.Bytes(), "text/html; charset=utf-8"
		}
	}
	return []byte(t.Title + ".\n" + t.Text + "\n"), "text/plain; charset=utf-8"
}

// wants returns the kind of text that a request's sender can use: a person at a browser a page, a program something short.
func wants(r *http.Request) string {
	accept := strings.ToLower(r.Header.Get("Accept"))
	switch {
	case r.Header.Get("Upgrade") != "":
		return "text"
	case strings.Contains(accept, "text/html"):
		return "html"
	case strings.Contains(accept, "json") || strings.Contains(r.URL.Path, "/api/") || r.Header.Get("X-Requested-With") != "":
		return "json"
	}
	return "text"
}
