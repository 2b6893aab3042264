# Sourced by the scripts of this folder and by .ci/run; everything temporary lies in $tmp.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export LC_ALL=C.UTF-8 TZ="${TZ:-UTC}" MAKEFLAGS="${MAKEFLAGS:--j2}"
passed=0 failed=0

# quietly COMMAND...: runs COMMAND and shows its output only if it fails
quietly() {
  "$@" >"$tmp/log" 2>&1 || { tail -n 80 "$tmp/log"; echo "failed: $*"; return 1; }
}

# build_package DIR [OPTION...]: builds the source package in DIR
build_package() {
  (cd "$1" && quietly R CMD build "${@:2}" "$root")
}

# install_package LIB [OPTION...]: builds, so that no object file is left in the tree, and
# installs into LIB
install_package() {
  mkdir -p "$1" "$tmp/source"
  build_package "$tmp/source" --no-build-vignettes || return 1
  quietly R CMD INSTALL --no-docs --library="$1" "${@:2}" "$tmp"/source/mixguide_*.tar.gz
}

# install_sanitized LIB [SANITIZER]: installs into LIB with the address and undefined-behaviour
# sanitizers, whose first report ends R, or with SANITIZER; "" means none, for valgrind
install_sanitized() {
  local flags=${2-address,undefined}
  flags=${flags:+-fsanitize=$flags -fno-sanitize-recover=all}
  printf '%s\n' "CFLAGS = -g -O1 -fno-omit-frame-pointer $flags" "LDFLAGS = $flags" >"$tmp/Makevars"
  MIXGUIDE_DEBUG=yes R_MAKEVARS_USER="$tmp/Makevars" install_package "$1" --no-test-load
}

# under_sanitizers COMMAND...: runs COMMAND with the sanitizers' runtime. R itself is not
# instrumented, so LD_PRELOAD loads the runtime first. It loads libstdc++, too, because the runtime
# looks at its start for the function that throws C++ exceptions (mvnfast's)
under_sanitizers() (
  LD_PRELOAD="$(gcc -print-file-name=libasan.so):$(gcc -print-file-name=libstdc++.so)"
  export LD_PRELOAD
  export ASAN_OPTIONS=detect_leaks=0:verify_asan_link_order=0:print_legend=0
  "$@"
)

# run_tests LIB [FILTER...]: runs the testthat tests against the package in LIB, by two R processes
# that share the files; the output ends with a count
run_tests() {
  local library=$1 part p f s passed=0 failed=0 skipped=0
  shift
  for part in 1 2; do
    (cd "$root" && R_LIBS="$library${R_LIBS:+:$R_LIBS}" exec Rscript tools/test.R "$part" 2 "$@") \
      >"$tmp/tests-$part" 2>&1 &
  done
  wait
  for part in "$tmp"/tests-[12]; do
    cat "$part"
    if is_count "$part"; then
      read -r p _ f _ s _ < <(tail -n 1 "$part")
      passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    else
      echo "R stopped before the end of the tests"
      failed=$((failed + 1))
    fi
  done
  echo "$passed passed, $failed failed, $skipped skipped"
  [ "$failed" = 0 ] && [ "$passed" != 0 ]
}

# is_count FILE: whether it ends with 'N passed, N failed'
is_count() {
  tail -n 1 "$1" | grep -qE '^[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$'
}

# add_counts FILE: adds the counts that end FILE
add_counts() {
  local p f
  read -r p _ f _ < <(tail -n 1 "$1")
  passed=$((passed + p)) failed=$((failed + f))
}

# finish: the closing line, and a status of failure if anything failed or nothing ran
finish() {
  echo "$passed passed, $failed failed"
  [ "$failed" = 0 ] && [ "$passed" != 0 ]
}
