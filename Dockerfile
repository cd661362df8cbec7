# merflow with the packages of requirements.txt and CPU wheels of torch. In a clone:
#     docker build --build-arg PIP_EXTRA_INDEX_URL=INDEX_OF_CPU_WHEELS -t merflow .
#     docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" merflow run
FROM python:3.11-slim-bookworm

# The index of PyTorch's CPU wheels, which its installation page names; without it torch comes with CUDA.
ARG PIP_EXTRA_INDEX_URL

COPY . /src
RUN pip install --no-cache-dir --no-compile --constraint /src/requirements.txt "/src[export,slurm]" && rm -r /src

# Folders that any user can write, because the user of the jobs may have no home.
ENV HOME=/tmp XDG_CACHE_HOME=/tmp/cache MPLCONFIGDIR=/tmp/matplotlib NUMBA_CACHE_DIR=/tmp/numba
WORKDIR /work
ENTRYPOINT ["merflow"]
CMD ["--help"]
