package hostnet

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// ParseRate reads a rate and returns it in bytes a second. A number is in bytes, with
// the binary units of --memory (10M is 10 MiB a second); one that ends in "bit" is in
// bits, with the decimal units of tc(8) (80Mbit is 10,000,000 bytes a second).
func ParseRate(s string) (uint64, error) {
	fail := func(why string) (uint64, error) {
		return 0, fmt.Errorf("%q %s: write for example 10M for 10 MiB a second, or 80Mbit", s, why)
	}
	units := []struct {
		suffix string
		factor uint64
	}{{"K", 1 << 10}, {"M", 1 << 20}, {"G", 1 << 30}}
	divisor := uint64(1)
	digits, inBits := strings.CutSuffix(strings.ToUpper(s), "BIT")
	if inBits {
		divisor = 8
		for i := range units {
			units[i].factor = [...]uint64{1e3, 1e6, 1e9}[i]
		}
	}
	factor := uint64(1)
	for _, u := range units {
		if d, ok := strings.CutSuffix(digits, u.suffix); ok {
			digits, factor = d, u.factor
			break
		}
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return fail("is no rate")
	}
	high, low := bits.Mul64(n, factor)
	// Below that, a single large packet takes a minute.
	const least, most = 1 << 10, 1 << 40
	if rate := low / divisor; high == 0 && rate >= least && rate <= most {
		return rate, nil
	}
	return fail("is out of range, which is 1 KiB to 1 TiB a second")
}
