package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// FirstUse is the authenticator of an empty config: the password of a user's first log-in becomes that user's.
const FirstUse = "firstuseauthenticator.FirstUseAuthenticator"

// authenticators are those of the hub environment: their short names, and module and class.
var authenticators = []struct {
	short         []string
	module, class string
	needsAllow    bool // without an option allow…, only those of users.allowed and users.admin get in
}{
	{[]string{"firstuse", "firstuseauthenticator"}, "firstuseauthenticator", "FirstUseAuthenticator", false},
	{[]string{"native"}, "nativeauthenticator", "NativeAuthenticator", false},
	{[]string{"tmp"}, "tmpauthenticator", "TmpAuthenticator", false},
	{[]string{"ldap", "ldapauthenticator"}, "ldapauthenticator", "LDAPAuthenticator", true},
	{[]string{"dummy"}, "jupyterhub.auth", "DummyAuthenticator", false},
	{[]string{"shared-password"}, "jupyterhub.authenticators.shared", "SharedPasswordAuthenticator", false},
	{[]string{"null"}, "jupyterhub.auth", "NullAuthenticator", false},
	{[]string{"pam", "default"}, "jupyterhub.auth", "PAMAuthenticator", true},
	{[]string{"auth0"}, "oauthenticator.auth0", "Auth0OAuthenticator", true},
	{[]string{"azuread"}, "oauthenticator.azuread", "AzureAdOAuthenticator", true},
	{[]string{"bitbucket"}, "oauthenticator.bitbucket", "BitbucketOAuthenticator", true},
	{[]string{"cilogon"}, "oauthenticator.cilogon", "CILogonOAuthenticator", true},
	{[]string{"generic-oauth"}, "oauthenticator.generic", "GenericOAuthenticator", true},
	{[]string{"github"}, "oauthenticator.github", "GitHubOAuthenticator", true},
	{[]string{"gitlab"}, "oauthenticator.gitlab", "GitLabOAuthenticator", true},
	{[]string{"globus"}, "oauthenticator.globus", "GlobusOAuthenticator", true},
	{[]string{"google"}, "oauthenticator.google", "GoogleOAuthenticator", true},
	{[]string{"openshift"}, "oauthenticator.openshift", "OpenShiftOAuthenticator", true},
}

var (
	dotted    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+$`)
	className = regexp.MustCompile(`^[A-Z][A-Za-z0-9_]*$`)
	attribute = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

func shortNames() []string {
	var found []string
	for _, known := range authenticators {
		found = append(found, known.short...)
		if strings.HasPrefix(known.module, "oauthenticator.") {
			found = append(found, "local-"+known.short[0])
		}
	}
	return found
}

func dottedNames() []string {
	var found []string
	for _, known := range authenticators {
		found = append(found, known.module+"."+known.class)
	}
	return found
}

var authenticator = text("authenticator", "the name of an authenticator", "^("+strings.Join(shortNames(), "|")+")$|"+dotted.String(), func(text string) (string, string, string) {
	switch {
	case slices.Contains(authenticators[0].short, text):
		return FirstUse, "", ""
	case slices.Contains(shortNames(), text):
		return text, "", ""
	case dotted.MatchString(text):
		return text, "", ""
	}
	if text == "mediawiki" {
		return "", "needs the package mwoauth, which this hub does not come with", "use generic-oauth with the wiki's OAuth 2.0 addresses"
	}
	for _, known := range authenticators { // a class without its module
		if strings.EqualFold(text, known.class) {
			return "", "must be a short name or the dotted path of a class", fmt.Sprintf("did you mean %s.%s?", known.module, known.class)
		}
	}
	if near := nearest(text, append(shortNames(), dottedNames()...)); near != "" {
		return "", "is not known: " + short(text), "did you mean " + near + "?"
	}
	return "", "must be a short name or the dotted path of a class, not " + short(text), "write, for example, native or " + FirstUse
})

// options reads the options of one class. What they mean is the class's business.
var options = kind[map[string]any]{"options", obj{"type": []string{"object", "null"}, "propertyNames": obj{"pattern": attribute.String()}}, func(w *walker, node *yaml.Node, path string) (map[string]any, bool) {
	name := path[strings.LastIndex(path, ".")+1:]
	if !className.MatchString(name) {
		w.fail(w.at[path], path, short(name)+" is not the name of an authenticator's class", "write, for example, GitHubOAuthenticator")
		return nil, false
	}
	found := map[string]any{}
	w.mapping(node, path, func(option, value *yaml.Node) {
		full := join(path, option.Value)
		if !attribute.MatchString(option.Value) {
			w.fail(option, full, short(option.Value)+" is not the name of an option", "")
			return
		}
		if read, ok := w.any(value, full); ok {
			found[option.Value] = read
		}
	})
	return found, node.Kind == yaml.MappingNode || w.isNull(node)
}}

// any reads a value of any type. Values are kept out of messages: they may be secret.
func (w *walker) any(node *yaml.Node, path string) (any, bool) {
	switch node.Kind {
	case yaml.ScalarNode:
		return w.anyScalar(node, path)
	case yaml.SequenceNode:
		list := []any{}
		for i, item := range node.Content {
			value, ok := w.any(item, fmt.Sprintf("%s[%d]", path, i))
			if !ok {
				continue
			}
			list = append(list, value)
		}
		return list, true
	case yaml.MappingNode:
		found := map[string]any{}
		w.mapping(node, path, func(name, value *yaml.Node) {
			if value, ok := w.any(value, join(path, name.Value)); ok {
				found[name.Value] = value
			}
		})
		return found, true
	}
	return nil, false
}

func (w *walker) anyScalar(node *yaml.Node, path string) (any, bool) {
	switch read(node) {
	case asText:
		return node.Value, true
	case asNull:
		return nil, true
	case asBool:
		return truth(node.Value), true
	case asWhole:
		n, err := strconv.ParseInt(node.Value, 10, 64)
		return n, err == nil
	case asFraction:
		n, err := strconv.ParseFloat(node.Value, 64)
		return n, err == nil
	case asYesNo:
		w.fail(node, path, "programs do not agree on whether this is a text or means true or false", "write true or false; or, for the text, put it in quotes")
	default:
		w.fail(node, path, "programs do not agree on how to read this: as a text, a number or a date", "put it in quotes; or, for a number, write it with plain digits")
	}
	return nil, false
}
