package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Who speaks to whom in the cluster: each by a certificate of the cluster's own authority. The names are Kubernetes'.
var holders = []struct{ file, name, group string }{
	{"etcd", "etcd", ""},
	{"apiserver", "kube-apiserver", ""},
	{"kubelet-serving", "kubelet", ""},
	{"apiserver-client", "kube-apiserver-client", "system:masters"},
	{"admin", "admin", "system:masters"},
	{"controller-manager", "system:kube-controller-manager", ""},
	{"scheduler", "system:kube-scheduler", ""},
	{"kubelet", "system:node:catamaran", "system:nodes"},
}

// keys FOLDER ADDRESS: writes the authority's certificate, one for each holder with its key, good for loopback and the address,
// and the key that service accounts' tokens are signed with.
func keys(folder, address string) error {
	ip := net.ParseIP(address)
	if ip == nil {
		return fmt.Errorf("%q is no IP address", address)
	}
	caKey, ca, err := authority(folder)
	if err != nil {
		return err
	}
	for number, holder := range holders {
		key, err := newKey(folder, holder.file)
		if err != nil {
			return err
		}
		subject := pkix.Name{CommonName: holder.name}
		if holder.group != "" {
			subject.Organization = []string{holder.group}
		}
		form := form(int64(number)+2, subject)
		form.KeyUsage = x509.KeyUsageDigitalSignature
		form.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
		form.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), ip}
		form.DNSNames = []string{"localhost", "catamaran", "kubernetes.default.svc"}
		if err := certify(folder, holder.file, form, ca, key.Public(), caKey); err != nil {
			return err
		}
	}
	_, err = newKey(folder, "service-accounts")
	return err
}

func authority(folder string) (*ecdsa.PrivateKey, *x509.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	form := form(1, pkix.Name{CommonName: "cluster"})
	form.IsCA, form.BasicConstraintsValid = true, true
	form.KeyUsage = x509.KeyUsageCertSign
	return key, form, certify(folder, "ca", form, form, key.Public(), key)
}

func form(number int64, subject pkix.Name) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(number),
		Subject:      subject,
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(30 * 24 * time.Hour),
	}
}

func newKey(folder, name string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	bytes, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, write(folder, name+".key", "EC PRIVATE KEY", bytes)
}

func certify(folder, name string, form, parent *x509.Certificate, public crypto.PublicKey, signer *ecdsa.PrivateKey) error {
	bytes, err := x509.CreateCertificate(rand.Reader, form, parent, public, signer)
	if err != nil {
		return err
	}
	return write(folder, name+".crt", "CERTIFICATE", bytes)
}

func write(folder, name, kind string, bytes []byte) error {
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes})
	return os.WriteFile(filepath.Join(folder, name), text, 0o600)
}
