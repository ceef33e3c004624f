package config

import (
	"regexp"
	"strings"
)

// What a name says of its value. One table for all that shows configs: reports, show, diffs.
var (
	secretive  = regexp.MustCompile(`(?i)secret|passw|passphrase|pwd|token|credential|private|cookie|signature|(key|keys|pass)$|(^|[^a-z])(key|pat|dsn)([^a-z]|$)|class_?code$|^consumers$`)
	harmless   = regexp.MustCompile(`(?i)(url|uri|file|path|length|lifetime|claim|enabled|strength|expires?|expiry|method|algorithm|scopes?|endpoint)$|(username|user|groups?|e?mail|sort|public)_?keys?$`)
	namedValue = regexp.MustCompile(`([A-Za-z0-9_.-]+)["']?\s*[:=]`)
	proxyInfo  = regexp.MustCompile(`(?i)(https?_proxy["']?\s*[:=]\s*["']?(?:[a-z]+:/{1,2})?)[^\r\n]*@`)
	userInfo   = regexp.MustCompile(`(://)[^/\s"'@]*(?:@[^/\s"'@]*)*@`)
)

// withoutUserInfo takes names and passwords out of the web addresses of a text, and of what was meant to be a proxy's.
func withoutUserInfo(text string) string {
	return userInfo.ReplaceAllString(proxyInfo.ReplaceAllString(text, "${1}***@"), "${1}***@")
}

// isSecret tells whether a name is that of a secret.
func isSecret(name string) bool { return secretive.MatchString(name) && !harmless.MatchString(name) }

// afterSecret returns where, in a line, the value of the first secret begins that it names: right behind the colon. It is -1 where there is none.
func afterSecret(line string) int {
	for _, at := range namedValue.FindAllStringSubmatchIndex(line, -1) {
		if isSecret(line[at[2]:at[3]]) {
			return at[1]
		}
	}
	return -1
}

// blank tells whether there is nothing of a value behind a secret's name: it may be in the lines below.
func blank(rest string) bool {
	rest = strings.Trim(rest, " \t")
	return rest == "" || blockHeader.MatchString(rest)
}
