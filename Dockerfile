# Build it:                    docker build -t genie .
# Play the shipped world:      docker run --rm -it -p 8765:8765 genie
#                              Open the address that it prints, with localhost in place of the container's number.
# Record and train your own:   docker run --rm -it -v genie_record:/genie/record -v genie_model:/genie/model genie make demo
# With a GPU:                  docker build -t genie --build-arg GPU=1 . ; then docker run --gpus all …
FROM python:3.12-slim
ARG GPU=""
RUN apt-get update && apt-get install -y --no-install-recommends make libgl1 libglib2.0-0 && rm -rf /var/lib/apt/lists/*
WORKDIR /genie
COPY Makefile requirements.txt ./
RUN make setup
RUN test -z "$GPU" || .venv/bin/python -m pip install --no-cache-dir "tensorflow[and-cuda]==2.21.0"
COPY . .
EXPOSE 8765
CMD [".venv/bin/python", "dream_play_tf.py", "--browser", "--host", "0.0.0.0"]
