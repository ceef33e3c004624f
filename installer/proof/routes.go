package proof

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"tljh/internal/host"
	"tljh/internal/layout"
)

// CarryRoutes remembers the proxy's routes over a restart, which loses them. The hub would give them back, too, a second or two later, and not at all while
// it is restarting itself.
func CarryRoutes(h *host.Host) func(ctx context.Context) func(ctx context.Context) error {
	return func(ctx context.Context) func(context.Context) error {
		token, _ := proxyToken(h.Files) // without it, the proxy says nothing
		api := proxyAPI{
			address: layout.ProxyAPIAddress, token: token,
			client: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{Proxy: nil}},
		}
		return api.carry(ctx)
	}
}

// carry remembers the routes and returns what gives them back; nil where there are none.
func (p proxyAPI) carry(ctx context.Context) func(ctx context.Context) error {
	routes := map[string]json.RawMessage{}
	data, err := p.call(ctx, http.MethodGet, "", nil)
	if err != nil || json.Unmarshal(data, &routes) != nil || len(routes) == 0 {
		return nil // the hub knows them
	}
	return func(ctx context.Context) error { p.put(ctx, routes); return nil }
}

// proxyToken returns the token of the proxy's API; "" when the file has none. The hub reads the file by the same rules (configure.py).
func proxyToken(files host.Files) (string, error) {
	env, err := files.Read(layout.ProxyEnv)
	if err != nil {
		return "", fmt.Errorf("cannot read the proxy's token: %w", err)
	}
	for line := range strings.Lines(string(env)) {
		key, value, _ := strings.Cut(line, "=")
		if value = strings.TrimSpace(value); strings.TrimSpace(key) == layout.ProxyTokenVariable && value != "" {
			return strings.Trim(value, `"'`), nil
		}
	}
	return "", nil
}

type proxyAPI struct {
	address string
	token   string
	client  *http.Client
}

func (p proxyAPI) call(ctx context.Context, method, route string, body []byte) ([]byte, error) {
	address := url.URL{Scheme: "http", Host: p.address, Path: "/api/routes" + route}
	request, err := http.NewRequestWithContext(ctx, method, address.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "token "+p.token)
	response, err := p.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode >= http.StatusMultipleChoices {
		return nil, fmt.Errorf("the proxy answers %s", response.Status)
	}
	return io.ReadAll(io.LimitReader(response.Body, 16<<20))
}

// routesTime is how long a proxy may take to start before its routes are left to the hub.
const routesTime = 10 * time.Second

// put gives the routes back as soon as the proxy answers. What can't be given back is the hub's to see to.
func (p proxyAPI) put(ctx context.Context, routes map[string]json.RawMessage) {
	ctx, cancel := context.WithTimeout(ctx, routesTime)
	defer cancel()
	_ = host.Poll(ctx, 20*time.Millisecond, func(ctx context.Context) (bool, error) {
		_, err := p.call(ctx, http.MethodGet, "", nil)
		return err == nil, nil
	})
	for route, target := range routes {
		_, _ = p.call(ctx, http.MethodPost, route, target)
	}
}
