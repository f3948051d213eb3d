#!/bin/sh
# Ask a question with curl. Needs OPENAI_BASE_URL and MODEL; OPENAI_API_KEY where the endpoint asks for a key.
set -eu
: "${OPENAI_BASE_URL:?is not set: eval the output of: llm-atc endpoint NAME --env}"
: "${MODEL:?is not set: give the name that the model is served under}"

# The header comes by standard input: an argument could be read by everybody on this machine.
printf 'Authorization: Bearer %s\n' "${OPENAI_API_KEY:-none}" |
  curl --silent --show-error --fail-with-body --max-time 120 \
    --header @- --header 'Content-Type: application/json' \
    --data "{\"model\": \"$MODEL\", \"max_tokens\": 64,
             \"messages\": [{\"role\": \"user\", \"content\": \"Why is the sky blue?\"}]}" \
    "$OPENAI_BASE_URL/chat/completions"
echo
