# Sourced by run, whose variables it reads: describes the machine and its software, as CSV.

row() { printf '%s,"%s"\n' "$1" "$2"; }
of_cpu() { lscpu | sed -n "s/^$1: *//p"; }
# the name and version stand in the file that libopenblas.so is a link to
openblas_version() {
  ls "$(dirname "$(readlink -f "${openblas#* }")")" | sed -n 's/^libopenblas.*-r\(.*\)\.so$/\1/p'
}
openblas_kernel() {
  LD_PRELOAD=$openblas OPENBLAS_VERBOSE=2 /bin/true 2>&1 | sed -n 's/^Core: //p'
}

describe_machine() {
  echo name,value
  row CPU "$(of_cpu 'Model name'), $(of_cpu 'CPU(s)') cores, $(of_cpu 'Hypervisor vendor')"
  row caches "L1d $(of_cpu 'L1d cache'), L2 $(of_cpu 'L2 cache'), L3 $(of_cpu 'L3 cache')"
  row memory "$(free -g | awk '/^Mem/ { print $2 }') GiB"
  # shellcheck disable=SC1091
  row system "$(. /etc/os-release && echo "$PRETTY_NAME"), Linux $(uname -r)"
  row compiler "$(gcc --version | head -n 1)$(R CMD config CFLAGS | grep -oE ' -(O|march|flto)\S*')"
  row R "$(Rscript -e 'cat(R.version$version.string)')"
  row "R packages" "$(Rscript -e 'packages <- c("mvnfast", "mclust", "mvtnorm")
    cat(paste(packages, sapply(packages, getNamespaceVersion)), sep = ", ")')"
  row "R's BLAS" "$(LD_PRELOAD=$reference Rscript -e 'cat(basename(extSoftVersion()["BLAS"]))')"
  row OpenBLAS "${openblas:+$(openblas_version), kernel $(openblas_kernel)}"
  row "OpenBLAS settings" "$(env | grep '^OPENBLAS' || echo none)"
  if [ "$interpreter" ]; then
    row Python "$("$interpreter" -c 'import sys, numpy, sklearn, torch
capability = torch.__config__.show().split("CPU capability usage: ")[1].split()[0]
print(sys.version.split()[0], "with numpy", numpy.__version__ + ", scikit-learn",
      sklearn.__version__ + ", torch", torch.__version__, "for", capability)')"
  fi
  row engines "${engines[*]}"
  row commit "$(git -c safe.directory='*' rev-parse --short HEAD)$(
    [ -z "$(git -c safe.directory='*' status --porcelain)" ] || echo ' with changes')"
  row date "$(date -I)"
  row "load before" "$(cut -d ' ' -f 1-3 /proc/loadavg)"
  row rounds "$rounds${quick:+, a tenth of the particles}"
}
