// Package keypair reads a TLS certificate with its key from the files that authorities, openssl and Windows write, and says in words what is
// wrong with them. The config's check and the edge both use it, so that what one accepts the other can serve. It opens no files.
package keypair

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"strings"

	"tljh/internal/text"
)

// Part is one of the two files.
type Part int

// The parts.
const (
	Certificate Part = iota
	Key
)

// Problem is why a pair of files cannot be used.
type Problem struct {
	Part Part
	Why  string // continues "the certificate's file" or "the key's file"
	Hint string
}

// ErrMismatch is the problem of a key that is another certificate's.
var ErrMismatch = &Problem{Key, "does not belong to the certificate", "take the key that the certificate was requested with"}

// Error is the whole sentence.
func (p *Problem) Error() string {
	file := map[Part]string{Certificate: "the certificate's file ", Key: "the key's file "}[p.Part]
	if p.Hint == "" {
		return file + p.Why
	}
	return file + p.Why + ": " + p.Hint
}

// Read returns the certificate that two files hold; they may be the same file. Blocks of other kinds (EC PARAMETERS, DH PARAMETERS), remarks
// between them, a byte order mark and the line ends of Windows are passed over, and each file may hold both parts in any order. The certificate
// of the key comes first in the result and those of the authorities follow in their order. The error is a *Problem; no byte of a key gets into it.
func Read(cert, key []byte) (*tls.Certificate, error) {
	chain, err := certificates(cert)
	if err != nil {
		return nil, err
	}
	private, err := privateKey(key)
	if err != nil {
		return nil, err
	}
	chain, err = ordered(chain, private)
	if err != nil {
		return nil, err
	}
	pair := &tls.Certificate{PrivateKey: private, Leaf: chain[0]}
	for _, each := range chain {
		pair.Certificate = append(pair.Certificate, each.Raw)
	}
	return pair, nil
}

// PEM returns a pair as one text in the order that every server reads.
func PEM(pair *tls.Certificate) ([]byte, error) {
	var all bytes.Buffer
	for _, each := range pair.Certificate {
		if err := pem.Encode(&all, &pem.Block{Type: "CERTIFICATE", Bytes: each}); err != nil {
			return nil, err
		}
	}
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		return nil, err
	}
	if err := pem.Encode(&all, &pem.Block{Type: "PRIVATE KEY", Bytes: key}); err != nil {
		return nil, err
	}
	return all.Bytes(), nil
}

// Authorities returns the certificates that a file of authorities holds.
func Authorities(data []byte) ([]*x509.Certificate, error) { return certificates(data) }

func blocks(data []byte) []*pem.Block {
	readable, err := text.Decode(data)
	if err != nil {
		return nil
	}
	var found []*pem.Block
	for block, rest := pem.Decode(readable); block != nil; block, rest = pem.Decode(rest) {
		found = append(found, block)
	}
	return found
}

func certificates(data []byte) ([]*x509.Certificate, error) {
	found := blocks(data)
	var chain []*x509.Certificate
	for _, block := range found {
		der := block.Bytes
		switch block.Type {
		case "TRUSTED CERTIFICATE": // openssl's: the certificate, and then what it is trusted for
			der = firstValue(der)
		case "CERTIFICATE", "X509 CERTIFICATE":
		default:
			continue
		}
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, &Problem{Certificate, "contains a certificate that cannot be read", ""}
		}
		chain = append(chain, certificate)
	}
	if len(chain) == 0 {
		return nil, &Problem{Certificate, "contains no certificate" + instead(data, found), pemHint(data, "CERTIFICATE", "-in FILE -out hub.pem")}
	}
	return chain, nil
}

func privateKey(data []byte) (crypto.PrivateKey, error) {
	found := blocks(data)
	for _, block := range found {
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue
		}
		if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
			return nil, &Problem{Key, "is protected by a passphrase, which nobody can type when the machine starts", "remove it: openssl pkey -in LOCKED.key -out hub.key"}
		}
		if key := parseKey(block.Bytes); key != nil {
			return key, nil
		}
		return nil, &Problem{Key, "contains a key that cannot be read", "use an RSA, ECDSA or Ed25519 key"}
	}
	return nil, &Problem{Key, "contains no private key" + instead(data, found), pemHint(data, "PRIVATE KEY", "-nocerts -nodes -in FILE -out hub.key")}
}

func parseKey(der []byte) crypto.PrivateKey {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		if _, ok := key.(crypto.Signer); ok {
			return key
		}
		return nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key
	}
	return nil
}

// ordered puts the certificate of a key first, then those that signed it, each after the one that it signed, then the rest.
func ordered(chain []*x509.Certificate, key crypto.PrivateKey) ([]*x509.Certificate, error) {
	leaf := -1
	for i, certificate := range chain {
		if belongs(certificate, key) {
			leaf = i
			break
		}
	}
	if leaf < 0 {
		return nil, ErrMismatch
	}
	sorted, rest := []*x509.Certificate{chain[leaf]}, append(append([]*x509.Certificate{}, chain[:leaf]...), chain[leaf+1:]...)
	for len(rest) > 0 {
		next := 0 // where nothing signed the last one, the order stays
		for i, certificate := range rest {
			if bytes.Equal(certificate.RawSubject, sorted[len(sorted)-1].RawIssuer) {
				next = i
				break
			}
		}
		sorted, rest = append(sorted, rest[next]), append(rest[:next:next], rest[next+1:]...)
	}
	return sorted, nil
}

func belongs(certificate *x509.Certificate, key crypto.PrivateKey) bool {
	public, ok := key.(crypto.Signer).Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(certificate.PublicKey)
}

// instead says what a file holds in the place of what was looked for.
func instead(data []byte, found []*pem.Block) string {
	switch {
	case len(found) > 0:
		return fmt.Sprintf(", it has %q", found[0].Type)
	case len(data) == 0:
		return ", it is empty"
	case len(data) > 0 && data[0] == 0x30:
		return ", it is in a binary form (DER or PKCS#12)"
	}
	return ""
}

func pemHint(data []byte, kind, pkcs12 string) string {
	if len(data) > 0 && data[0] == 0x30 {
		return "bring it into PEM form: openssl pkcs12 " + pkcs12 + " (a .pfx or .p12 file)"
	}
	return "it must be a PEM file: a text with -----BEGIN " + kind + "-----"
}

// firstValue returns the first DER value of several.
func firstValue(der []byte) []byte {
	var value asn1.RawValue
	if _, err := asn1.Unmarshal(der, &value); err != nil {
		return der
	}
	return value.FullBytes
}
