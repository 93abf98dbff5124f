package e2e

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// imageName is what containers are made from: a root file system with busybox.
const imageName = "docker.io/library/coffer-e2e:latest"

// rootTar is a root file system with busybox, the libraries that it is linked
// with, and a user, as a tar archive.
func rootTar(t *testing.T) []byte {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("busybox is not installed")
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(h *tar.Header, content []byte) {
		h.Size = int64(len(content))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	file := func(name string, mode int64, content []byte) {
		add(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode}, content)
	}
	for _, dir := range []string{"bin", "dev", "etc", "lib", "lib64", "proc", "root", "sys", "usr", "var"} {
		add(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}, nil)
	}
	add(&tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777}, nil)
	read := func(path string) []byte {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	file("bin/busybox", 0o755, read(busybox))
	// ldd shows "NAME => PATH (ADDRESS)", and a path alone for the dynamic
	// linker. It fails for a program without libraries.
	libraries, _ := exec.Command("ldd", busybox).Output()
	for word := range strings.FieldsSeq(string(libraries)) {
		if strings.HasPrefix(word, "/") {
			name := word[1:]
			if base, ok := strings.CutPrefix(name, "lib/x86_64-linux-gnu/"); ok {
				name = "lib/" + base
			}
			file(name, 0o755, read(word))
		}
	}
	applets, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.FieldsSeq(string(applets)) {
		if name != "busybox" {
			add(&tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + name, Linkname: "busybox", Mode: 0o777}, nil)
		}
	}
	file("etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\nsomebody:x:1000:1000::/:/bin/sh\n"))
	file("etc/group", 0o644, []byte("root:x:0:\nsomebody:x:1000:\n"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// imageArchive is an image of one layer in the OCI image layout, version 1.0.0,
// as a tar archive.
func imageArchive(t *testing.T, layer []byte) []byte {
	t.Helper()
	type object = map[string]any
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	write := func(name string, content []byte) {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	blob := func(mediaType string, content []byte) object {
		digest := fmt.Sprintf("%x", sha256.Sum256(content))
		write("blobs/sha256/"+digest, content)
		return object{"mediaType": mediaType, "digest": "sha256:" + digest, "size": len(content)}
	}
	encoded := func(v any) []byte {
		content, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	layerRef := blob("application/vnd.oci.image.layer.v1.tar", layer)
	config := blob("application/vnd.oci.image.config.v1+json", encoded(object{
		"architecture": "amd64", "os": "linux",
		"config": object{"Env": []string{"PATH=/bin"}, "Cmd": []string{"sh"}},
		"rootfs": object{"type": "layers", "diff_ids": []any{layerRef["digest"]}},
	}))
	manifest := blob("application/vnd.oci.image.manifest.v1+json", encoded(object{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": config, "layers": []any{layerRef},
	}))
	manifest["annotations"] = object{"io.containerd.image.name": imageName, "org.opencontainers.image.ref.name": "latest"}
	write("index.json", encoded(object{"schemaVersion": 2, "manifests": []any{manifest}}))
	write("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
