#!/usr/bin/env bash
# Prepares a real MediaWiki for the tests of sources/mediawiki: installs Debian's package with PHP's command
# line, and keeps an installed wiki (SQLite) in the cache folder. Tests copy that wiki and serve the copy.
#
#   setup-mediawiki.sh          prepares, and prints the folder of the prepared wiki
#   setup-mediawiki.sh --path   prints the folder, or fails where it is not prepared; changes nothing
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${HEADWATER_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/headwater}
packages=(mediawiki php-cli php-sqlite3 php-mbstring php-xml php-intl sqlite3)

fail() {
  echo "error: $1" >&2
  exit 1
}

installed_version() {
  dpkg-query --show --showformat '${db:Status-Abbrev}${Version}' mediawiki 2>/dev/null | sed -n 's/^ii *//p'
}

all_installed() {
  local count
  count=$(dpkg-query --show --showformat '${db:Status-Abbrev}\n' "${packages[@]}" 2>/dev/null | grep -c '^ii' || true)
  [ "$count" = "${#packages[@]}" ]
}

prepared_folder() {
  local hash
  hash=$(cat "$here/setup-mediawiki.sh" "$here/mediawiki-settings.php" | sha256sum | cut -c1-12)
  echo "$cache/mediawiki-$(installed_version | tr -c '[:alnum:].+\n' '-')-$hash"
}

install_packages() {
  command -v apt-get >/dev/null || fail "the tests need MediaWiki from Debian's packages, and there is no apt-get here; \
install these by hand: ${packages[*]}"
  local as_root=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || fail "installing ${packages[*]} needs root: run this script as root, or install sudo"
    sudo -n true 2>/dev/null || [ -t 0 ] || fail "installing ${packages[*]} needs root, and sudo asks for a password: \
run this script as root, or in a terminal"
    as_root=(sudo)
  fi
  {
    "${as_root[@]}" apt-get update
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${packages[@]}"
  } >&2 || fail "apt-get could not install ${packages[*]}: see its messages above"
}

prepare() {
  local target=$1 code work key
  code=$(dpkg -L mediawiki | sed -n 's:/maintenance/install\.php$::p' | head -n 1)
  [ -n "$code" ] || fail "the package mediawiki has no maintenance/install.php; install it again"
  mkdir -p "$cache"
  work=$(mktemp -d "$cache/.mediawiki-XXXXXX")
  # shellcheck disable=SC2064
  trap "rm -rf '$work'" EXIT
  php "$code/maintenance/install.php" --confpath "$work" --dbtype sqlite --dbpath "$work/data" --dbname wiki \
    --scriptpath '' --server http://127.0.0.1 --pass 'correct horse battery staple' --skins '' --extensions '' \
    'Headwater Test' Admin >&2
  rm "$work/LocalSettings.php"
  cp "$here/mediawiki-settings.php" "$work/LocalSettings.php"
  mkdir "$work/cache" "$work/opcache"
  ln -s "$code" "$work/code"
  export MW_CONFIG_FILE="$work/LocalSettings.php"
  php "$code/maintenance/rebuildLocalisationCache.php" --lang en --force >&2
  php "$code/maintenance/createAndPromote.php" --bot Reader 'correct horse battery staple' >&2
  # MediaWiki takes a bot password of exactly 32 characters.
  key=0123456789abcdefghijklmnopqrstuv
  php "$code/maintenance/createBotPassword.php" --appid headwater \
    --grants basic,highvolume,viewdeleted Reader "$key" >&2
  # Whoever comes second throws its work away: the folder appears whole or not at all.
  mv -T "$work" "$target" 2>/dev/null || [ -d "$target" ] || fail "could not move the prepared wiki to $target"
}

case "${1:-}" in
  --path)
    all_installed && target=$(prepared_folder) && [ -d "$target" ] || fail "no prepared MediaWiki: run testing/setup-mediawiki.sh"
    ;;
  '')
    all_installed || install_packages
    target=$(prepared_folder)
    [ -d "$target" ] || prepare "$target"
    ;;
  *) fail "unknown argument $1; usage: setup-mediawiki.sh [--path]" ;;
esac
echo "$target"
