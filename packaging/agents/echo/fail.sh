# echo.fail [WORD…]: fails, with a message on standard error.
shift
printf '%s\n' "${*:-echo.fail was called, and it fails}" >&2
exit 3
