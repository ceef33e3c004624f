package keypair

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/stretchr/testify/require"
)

// made is a key with its certificate and those of two authorities above it.
type made struct {
	key                crypto.Signer
	leaf, middle, root []byte // PEM
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func pkcs8(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return block("PRIVATE KEY", der)
}

func elliptical(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

func makeChain(t testing.TB, key crypto.Signer) made {
	t.Helper()
	sign := func(name string, public any, parent *x509.Certificate, by crypto.Signer) *x509.Certificate {
		template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
		if parent == nil {
			parent = template
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, public, by)
		require.NoError(t, err)
		parsed, err := x509.ParseCertificate(der)
		require.NoError(t, err)
		return parsed
	}
	rootKey, middleKey := elliptical(t), elliptical(t)
	root := sign("root", rootKey.Public(), nil, rootKey)
	middle := sign("middle", middleKey.Public(), root, rootKey)
	leaf := sign("hub.example.org", key.Public(), middle, middleKey)
	return made{key, block("CERTIFICATE", leaf.Raw), block("CERTIFICATE", middle.Raw), block("CERTIFICATE", root.Raw)}
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func windows(data []byte) []byte { return bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n")) }

func utf16LE(data []byte) []byte {
	out := []byte{0xFF, 0xFE}
	for _, unit := range utf16.Encode([]rune(string(data))) {
		out = append(out, byte(unit), byte(unit>>8))
	}
	return out
}

func TestRead(t *testing.T) {
	m := makeChain(t, elliptical(t))
	key := pkcs8(t, m.key)
	der, err := x509.MarshalECPrivateKey(m.key.(*ecdsa.PrivateKey))
	require.NoError(t, err)
	ec, parameters := block("EC PRIVATE KEY", der), block("EC PARAMETERS", []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7})
	chain := join(m.leaf, m.middle, m.root)
	mark := []byte{0xEF, 0xBB, 0xBF}
	for name, test := range map[string]struct {
		cert, key []byte
		length    int
	}{
		"one certificate":                     {m.leaf, key, 1},
		"a chain":                             {chain, key, 3},
		"a chain in the wrong order":          {join(m.root, m.middle, m.leaf), key, 3},
		"a key after EC PARAMETERS":           {chain, join(parameters, ec), 3},
		"a key with its certificate":          {chain, join(m.leaf, key), 3},
		"both in one file, key first":         {join(parameters, ec, chain), join(parameters, ec, chain), 3},
		"both in one file, key in the middle": {join(m.leaf, key, m.middle), join(m.leaf, key, m.middle), 2},
		"byte order marks":                    {join(mark, chain), join(mark, key), 3},
		"Windows line ends":                   {windows(chain), windows(key), 3},
		"UTF-16":                              {utf16LE(chain), utf16LE(key), 3},
		"remarks":                             {join([]byte("Bag Attributes\n    friendlyName: hub\n"), chain), join([]byte("Key Attributes: <No Attributes>\n"), key), 3},
		"DH PARAMETERS":                       {join(block("DH PARAMETERS", []byte{1}), chain), key, 3},
		"openssl's trusted certificate":       {block("TRUSTED CERTIFICATE", append(der0(t, m.leaf), 0x30, 0)), key, 1},
		"the older name of a certificate":     {block("X509 CERTIFICATE", der0(t, m.leaf)), key, 1},
		"a certificate that does not belong":  {join(makeChain(t, elliptical(t)).leaf, m.leaf), key, 2},
		"no line end at the end of the file":  {bytes.TrimSpace(chain), bytes.TrimSpace(key), 3},
	} {
		t.Run(name, func(t *testing.T) {
			pair, err := Read(test.cert, test.key)
			require.NoError(t, err)
			require.Len(t, pair.Certificate, test.length)
			require.Equal(t, "hub.example.org", pair.Leaf.Subject.CommonName)
			text, err := PEM(pair)
			require.NoError(t, err)
			served, err := tls.X509KeyPair(text, text)
			require.NoError(t, err, "what is written is what Go's own reader takes")
			require.Equal(t, pair.Certificate, served.Certificate)
			if test.length == 3 {
				require.Equal(t, string(chain), string(text[:len(chain)]), "the server's own first, then the authorities upwards")
			}
		})
	}
}

func der0(t testing.TB, text []byte) []byte {
	t.Helper()
	found, _ := pem.Decode(text)
	require.NotNil(t, found)
	return found.Bytes
}

func TestReadEveryKindOfKey(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	m := makeChain(t, rsaKey)
	for name, test := range map[string]struct{ cert, key []byte }{
		"RSA, PKCS#1": {m.leaf, block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey))},
		"RSA, PKCS#8": {m.leaf, pkcs8(t, rsaKey)},
		"Ed25519":     {makeChain(t, edKey).leaf, pkcs8(t, edKey)},
	} {
		_, err := Read(test.cert, test.key)
		require.NoError(t, err, name)
	}
}

func TestReadRefuses(t *testing.T) {
	m, other := makeChain(t, elliptical(t)), makeChain(t, elliptical(t))
	key := pkcs8(t, m.key)
	old := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "x"}, Bytes: []byte("x")})
	for name, test := range map[string]struct {
		cert, key []byte
		part      Part
		says      string
	}{
		"swapped":        {key, m.leaf, Certificate, `contains no certificate, it has "PRIVATE KEY"`},
		"two chains":     {m.leaf, m.leaf, Key, `contains no private key, it has "CERTIFICATE"`},
		"of two pairs":   {m.leaf, pkcs8(t, other.key), Key, "does not belong to the certificate"},
		"locked":         {m.leaf, block("ENCRYPTED PRIVATE KEY", []byte("x")), Key, "passphrase"},
		"locked as old":  {m.leaf, old, Key, "openssl pkey"},
		"empty":          {nil, key, Certificate, "it is empty"},
		"DER":            {der0(t, m.leaf), key, Certificate, "binary form"},
		"a binary key":   {m.leaf, der0(t, key), Key, "openssl pkcs12"},
		"some text":      {[]byte("hello\n"), key, Certificate, "contains no certificate"},
		"a broken key":   {m.leaf, block("PRIVATE KEY", []byte("secret bytes")), Key, "cannot be read"},
		"a broken chain": {join(m.leaf, block("CERTIFICATE", []byte("x"))), key, Certificate, "cannot be read"},
		"only a request": {block("CERTIFICATE REQUEST", []byte("x")), key, Certificate, `it has "CERTIFICATE REQUEST"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Read(test.cert, test.key)
			problem := new(Problem)
			require.ErrorAs(t, err, &problem)
			require.Equal(t, test.part, problem.Part)
			require.ErrorContains(t, err, test.says)
			require.NotContains(t, err.Error(), "secret")
		})
	}
}

func FuzzRead(f *testing.F) {
	m := makeChain(f, elliptical(f))
	key := pkcs8(f, m.key)
	f.Add(join(m.leaf, m.middle), key)
	f.Add(join(key, m.leaf), join(key, m.leaf))
	f.Add(windows(m.leaf), utf16LE(key))
	f.Fuzz(func(t *testing.T, cert, key []byte) {
		pair, err := Read(cert, key)
		if err != nil {
			require.False(t, strings.Contains(err.Error(), "\n"))
			return
		}
		text, err := PEM(pair)
		require.NoError(t, err)
		_, err = tls.X509KeyPair(text, text)
		require.NoError(t, err)
	})
}
