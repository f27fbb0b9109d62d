// How much a test does: full in an ordinary build, less under a sanitizer, more when asked.
#pragma once

#include <cstdint>
#include <cstdlib>

namespace penstock::test {

// PENSTOCK_LONG=1 in the environment asks for the long forms: hours of seeds instead of seconds.
inline bool long_form() {
    static const bool asked = [] {
        const char* const value = std::getenv("PENSTOCK_LONG");
        return value != nullptr && *value != '\0' && *value != '0';
    }();
    return asked;
}

// What `full` is scaled to here. Sanitizers are about a tenth as fast.
inline std::uint64_t effort(std::uint64_t full) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    constexpr std::uint64_t kShare = 10;
#else
    constexpr std::uint64_t kShare = 1;
#endif
    const std::uint64_t here = full / kShare > 0 ? full / kShare : 1;
    return long_form() ? 50 * here : here;
}

}  // namespace penstock::test
