// Stands in for libFuzzer where there is none: runs files, or random bytes that a seed names. No coverage guides it.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int main(int argc, char** argv) {
  std::uint64_t seeds = argc == 1 ? 10'000 : 0, first = 1;
  for (int k = 1; k < argc; ++k) {
    const bool named = std::strcmp(argv[k], "--seeds") == 0 || std::strcmp(argv[k], "--first") == 0;
    if (named && k + 1 == argc) {
      std::fprintf(stderr, "%s needs a number; usage: %s [file ...] [--seeds n] [--first seed]\n", argv[k], argv[0]);
      return 2;
    }
    if (named) {
      (std::strcmp(argv[k], "--seeds") == 0 ? seeds : first) = std::strtoull(argv[k + 1], nullptr, 10);
      ++k;
      continue;
    }
    std::ifstream file(argv[k], std::ios::binary);
    if (!file) {
      std::fprintf(stderr, "%s cannot be read\n", argv[k]);
      return 2;
    }
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  }
  std::vector<std::uint8_t> bytes;
  for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
    std::mt19937_64 random(seed);
    bytes.resize(random() % 2000);
    for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random());
    std::fprintf(stderr, "\rseed %llu ", static_cast<unsigned long long>(seed));  // the last one printed is the one that failed
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  }
  std::fprintf(stderr, "\r%llu seeds, nothing found\n", static_cast<unsigned long long>(seeds));
  return 0;
}
