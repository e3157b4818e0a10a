# echo.say WORD…: the words, joined by spaces. The first argument is always the caller.
shift
printf '%s\n' "$*"
