// Verifier checks what kubemint says about its log with the code that Go checks its module database with,
// golang.org/x/mod/sumdb, which shares nothing with kubemint.
//
//	verifier note VKEY < NOTE              print the text of a note that the key has signed
//	verifier cosignature VKEY < NOTE       print the text of a note that the witness has cosigned
//	verifier record < CASES                a line each: SIZE ROOT INDEX LEAF-HASH [HASH ...]
//	verifier tree < CASES                  a line each: NEW-SIZE NEW-ROOT OLD-SIZE OLD-ROOT [HASH ...]
//	verifier receipt VKEY < RECEIPT        print the entry, which is the receipt's extra data
//	verifier tiles DIRECTORY VKEY          check a log in files: checkpoint, tile/
//
// Hashes are in base64. `record` and `tree` answer "holds" or "refused" for each line; the others end with
// status 1 if something does not hold.
package main

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const tileHeight = 8

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "note":
		return printNote(note.NewVerifier(args[1]))
	case len(args) == 2 && args[0] == "cosignature":
		return printNote(newWitness(args[1]))
	case len(args) == 1 && args[0] == "record":
		return checkCases(func(size int64, root tlog.Hash, index int64, leaf tlog.Hash, proof []tlog.Hash) error {
			return tlog.CheckRecord(proof, size, root, index, leaf)
		})
	case len(args) == 1 && args[0] == "tree":
		return checkCases(func(size int64, root tlog.Hash, oldSize int64, oldRoot tlog.Hash, proof []tlog.Hash) error {
			return tlog.CheckTree(proof, size, root, oldSize, oldRoot)
		})
	case len(args) == 2 && args[0] == "receipt":
		return checkReceipt(args[1])
	case len(args) == 3 && args[0] == "tiles":
		return checkTiles(args[1], args[2])
	}
	return errors.New("usage: verifier note|cosignature|record|tree|receipt|tiles ...")
}

func printNote(key note.Verifier, err error) error {
	if err != nil {
		return err
	}
	message, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	opened, err := note.Open(message, note.VerifierList(key))
	if err != nil {
		return err
	}
	fmt.Print(opened.Text)
	return nil
}

// A witness verifies what C2SP tlog-cosignature has for Ed25519.
type witness struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func newWitness(vkey string) (note.Verifier, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return nil, errors.New("not a verifier key")
	}
	typed, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(typed) != 1+ed25519.PublicKeySize || typed[0] != 4 {
		return nil, errors.New("not the key of a witness")
	}
	id := sha256.Sum256(append([]byte(parts[0]+"\n"), typed...))
	if fmt.Sprintf("%x", id[:4]) != parts[1] {
		return nil, errors.New("another key's ID")
	}
	return &witness{parts[0], binary.BigEndian.Uint32(id[:4]), typed[1:]}, nil
}

func (w *witness) Name() string    { return w.name }
func (w *witness) KeyHash() uint32 { return w.hash }
func (w *witness) Verify(text, signature []byte) bool {
	if len(signature) != 8+ed25519.SignatureSize {
		return false
	}
	header := fmt.Sprintf("cosignature/v1\ntime %d\n", binary.BigEndian.Uint64(signature))
	return ed25519.Verify(w.key, append([]byte(header), text...), signature[8:])
}

func checkCases(check func(int64, tlog.Hash, int64, tlog.Hash, []tlog.Hash) error) error {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 {
			return fmt.Errorf("not a case: %q", lines.Text())
		}
		first, err1 := strconv.ParseInt(fields[0], 10, 64)
		second, err2 := strconv.ParseInt(fields[2], 10, 64)
		hashes, err3 := parseHashes(append([]string{fields[1], fields[3]}, fields[4:]...))
		if err1 != nil || err2 != nil || err3 != nil {
			return fmt.Errorf("not a case: %q", lines.Text())
		}
		if err := check(first, hashes[0], second, hashes[1], hashes[2:]); err != nil {
			fmt.Println("refused")
		} else {
			fmt.Println("holds")
		}
	}
	return lines.Err()
}

func parseHashes(texts []string) (hashes []tlog.Hash, err error) {
	for _, text := range texts {
		hash, err := tlog.ParseHash(text)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, hash)
	}
	return hashes, nil
}

// openCheckpoint reads what C2SP tlog-checkpoint has; tlog.ParseTree reads Go's own form of it alone.
func openCheckpoint(message []byte, vkey string) (tree tlog.Tree, err error) {
	key, err := note.NewVerifier(vkey)
	if err != nil {
		return tree, err
	}
	opened, err := note.Open(message, note.VerifierList(key))
	if err != nil {
		return tree, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] != key.Name() {
		return tree, errors.New("not a checkpoint of this log")
	}
	if tree.N, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return tree, err
	}
	tree.Hash, err = tlog.ParseHash(lines[2])
	return tree, err
}

func checkReceipt(vkey string) error {
	receipt, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	split := bytes.Index(receipt, []byte("\n\n"))
	if split < 0 {
		return errors.New("no checkpoint")
	}
	tree, err := openCheckpoint(receipt[split+2:], vkey)
	if err != nil {
		return err
	}
	lines := strings.Split(string(receipt[:split]), "\n")
	if len(lines) < 3 || lines[0] != "c2sp.org/tlog-proof@v1" || !strings.HasPrefix(lines[1], "extra ") {
		return errors.New("not a receipt with an entry")
	}
	entry, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(lines[1], "extra "))
	if err != nil {
		return err
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[2], "index "), 10, 64)
	if err != nil {
		return err
	}
	proof, err := parseHashes(lines[3:])
	if err != nil {
		return err
	}
	if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(entry)); err != nil {
		return err
	}
	_, err = os.Stdout.Write(entry)
	return err
}

// checkTiles checks that every tile and entry of the checkpoint's tree is there, and that no file says
// anything else: tiles of sizes that the log had before are part of the tree too. What they are compared with
// is made of the entries: before x/mod 0.40, TileHashReader lets a changed tile through (CVE-2026-56865).
func checkTiles(directory, vkey string) error {
	message, err := os.ReadFile(filepath.Join(directory, "checkpoint"))
	if err != nil {
		return err
	}
	tree, err := openCheckpoint(message, vkey)
	if err != nil {
		return err
	}
	files := tileFiles(directory)
	hashes, err := files.hashEntries(tree.N)
	if err != nil {
		return err
	}
	for _, reader := range []tlog.HashReader{hashes, tlog.TileHashReader(tree, files)} {
		if root, err := tlog.TreeHash(tree.N, reader); err != nil || root != tree.Hash {
			return fmt.Errorf("the log is not what was signed: %v", err)
		}
	}
	for level := 0; tree.N>>(level*tileHeight) > 0; level++ {
		for _, tile := range tilesOf(level, tree.N) {
			if err := files.checkTile(tile, hashes); err != nil {
				return err
			}
		}
	}
	return filepath.Walk(filepath.Join(directory, "tile"), func(path string, found os.FileInfo, err error) error {
		if err != nil || found.IsDir() {
			return err
		}
		tile, err := files.parse(path)
		if err != nil {
			return err
		}
		return files.checkTile(tile, hashes)
	})
}

// tilesOf gives the tiles of a level, the partial one last.
func tilesOf(level int, size int64) (tiles []tlog.Tile) {
	width := size >> (level * tileHeight)
	for n := int64(0); n<<tileHeight < width; n++ {
		tile := tlog.Tile{H: tileHeight, L: level, N: n, W: 1 << tileHeight}
		if rest := width - n<<tileHeight; rest < 1<<tileHeight {
			tile.W = int(rest)
		}
		tiles = append(tiles, tile)
	}
	return tiles
}

// A hashList has the hashes of a tree in the order in which Go stores them.
type hashList []tlog.Hash

func (h hashList) ReadHashes(indexes []int64) (found []tlog.Hash, err error) {
	for _, index := range indexes {
		if index >= int64(len(h)) {
			return nil, errors.New("not in the tree")
		}
		found = append(found, h[index])
	}
	return found, nil
}

// tileFiles is a directory that C2SP tlog-tiles describes; Go's own paths have the height, and "data" for entries.
type tileFiles string

func (f tileFiles) path(tile tlog.Tile) string {
	path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
	return filepath.Join(string(f), strings.Replace(path, "tile/data/", "tile/entries/", 1))
}

func (f tileFiles) parse(path string) (tlog.Tile, error) {
	inside, err := filepath.Rel(string(f), path)
	if err != nil {
		return tlog.Tile{}, err
	}
	inside = strings.Replace(filepath.ToSlash(inside), "tile/entries/", "tile/data/", 1)
	return tlog.ParseTilePath(strings.Replace(inside, "tile/", "tile/8/", 1))
}

func (f tileFiles) Height() int                     { return tileHeight }
func (f tileFiles) SaveTiles([]tlog.Tile, [][]byte) {}
func (f tileFiles) ReadTiles(tiles []tlog.Tile) (contents [][]byte, err error) {
	for _, tile := range tiles {
		content, err := os.ReadFile(f.path(tile))
		if err != nil {
			return nil, err
		}
		contents = append(contents, content)
	}
	return contents, nil
}

// hashEntries hashes all entries of a tree, and the tree.
func (f tileFiles) hashEntries(size int64) (hashes hashList, err error) {
	for _, tile := range tilesOf(0, size) {
		leaves, err := f.hashBundle(tile)
		if err != nil {
			return nil, err
		}
		for i, leaf := range leaves {
			added, err := tlog.StoredHashesForRecordHash(tile.N<<tileHeight+int64(i), leaf, hashes)
			if err != nil {
				return nil, err
			}
			hashes = append(hashes, added...)
		}
	}
	return hashes, nil
}

// hashBundle hashes the entries whose hashes a tile of level 0 has.
func (f tileFiles) hashBundle(tile tlog.Tile) (leaves []tlog.Hash, err error) {
	tile.L = -1
	bundle, err := os.ReadFile(f.path(tile))
	if err != nil {
		return nil, err
	}
	for len(bundle) > 0 {
		if len(bundle) < 2 || len(bundle) < 2+int(binary.BigEndian.Uint16(bundle)) {
			return nil, fmt.Errorf("%s ends within an entry", f.path(tile))
		}
		end := 2 + int(binary.BigEndian.Uint16(bundle))
		leaves, bundle = append(leaves, tlog.RecordHash(bundle[2:end])), bundle[end:]
	}
	if len(leaves) != tile.W {
		return nil, fmt.Errorf("%s has %d entries", f.path(tile), len(leaves))
	}
	return leaves, nil
}

// checkTile compares a file with the tree: the hashes of a tile, or entries (level -1).
func (f tileFiles) checkTile(tile tlog.Tile, hashes tlog.HashReader) error {
	path := f.path(tile)
	found, err := os.ReadFile(path)
	if tile.L == -1 {
		var leaves []tlog.Hash
		leaves, err = f.hashBundle(tile)
		found = nil
		for _, leaf := range leaves {
			found = append(found, leaf[:]...)
		}
		tile.L = 0
	}
	if err != nil {
		return err
	}
	expected, err := tlog.ReadTileData(tile, hashes)
	if err != nil || !bytes.Equal(found, expected) {
		return fmt.Errorf("%s is not of this tree: %v", path, err)
	}
	return nil
}
