#!/usr/bin/env bash
# Names, log messages and comments are in the field's terms (README.md, "How it is written"): this finds words of a private dialect.
# `tests/words.sh` prints each place and fails when there is one; `tests/words.sh --count` only counts them, by folder; paths after
# either limit it to those.
set -euo pipefail
cd "$(dirname "$0")/.."

# Not anywhere: neither in a name nor in a sentence.
readonly anywhere='told|whoever|desks?|misfits?|clerks?|surroundings|mandates?|attend(s|ed|ing|ants?)?|let_?go|keeps?_?up|kept_?up'
readonly sentences='let go|lets go|letting go|(?:keeps?|kept) up(?! to date)|(?:an?|the|one|each|first|next|last|two|between) looks?(?! (?:at|like|for))'
# Not in a name. In a sentence they mean what they mean.
readonly names='words|looks?|gates?|hands|turns?(?!_(?:in)?to|_out)|standing|things?|keeping'

# `path:text`, as patterns: what a line matches altogether is no finding. Each with its reason.
readonly exceptions=(
  # This list itself, and where it is run.
  '^tests/words\.sh:'
  '^Makefile:.*\bwords\b'
  # A text in quotes that goes on in the next line.
  '\\$'
)

# A word as a part of a name: snake_case and SCREAMING_CASE, or a segment of CamelCase.
segment() {
  local capital
  capital=$(sed -E 's/(^|\|)([a-z])/\1\u\2/g; s/_\?([a-z])/\u\1/g' <<<"$1")
  printf '(?:(?<![A-Za-z])(?i:%s)(?![A-Za-z])|(?<=[a-z0-9])(?:%s)(?![a-z])|(?<![A-Za-z])(?:%s)(?=[A-Z]))' "$1" "$capital" "$capital"
}

find_all() {
  local files hashed slashed text
  mapfile -t files < <(git ls-files --cached --others --exclude-standard -- "${@:-.}" |
    grep -E '\.(rs|sh|wit|py|mjs)$|(^|/)Makefile$|\.ci/run$')
  mapfile -t slashed < <(printf '%s\n' "${files[@]}" | grep -E '\.(rs|wit|mjs)$')
  mapfile -t hashed < <(printf '%s\n' "${files[@]}" | grep -vE '\.(rs|wit|mjs)$')
  # What stands in quotes in one line, and what follows the sign of a comment, are no names.
  text='"(?:\\.|[^"\\])*"|'"'\"'"
  {
    grep -noHP "$(segment "$anywhere")|(?<![A-Za-z])(?i:$sentences)(?![A-Za-z])" "${files[@]}" /dev/null || true
    grep -noHP "^(?:$text|/(?!/)|[^\"/])*?\K$(segment "$names")" "${slashed[@]}" /dev/null || true
    grep -noHP "^(?:$text|[^\"#])*?\K$(segment "$names")" "${hashed[@]}" /dev/null || true
  } | sort -t: -k1,1 -k2,2n -u | while IFS=: read -r path line word; do
    local exception
    text=$path:$(sed -n "${line}p" "$path")
    for exception in "${exceptions[@]}"; do
      [[ $text =~ $exception ]] && continue 2
    done
    printf '%s:%s: %s\n' "$path" "$line" "$word"
  done
}

if [[ ${1:-} == --count ]]; then
  shift
  find_all "$@" | awk -F: '{
    parts = split($1, folder, "/")
    count[parts > 2 ? folder[1] "/" folder[2] : folder[1]]++
  } END { for (key in count) printf "%6d  %s\n", count[key], key; printf "%6d  in all\n", NR }' | sort -n
  exit
fi
found=$(find_all "$@")
[[ -z $found ]] || { printf '%s\n' "$found" >&2; echo "words: $(wc -l <<<"$found") to replace by the field's own" >&2; exit 1; }
