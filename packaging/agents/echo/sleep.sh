# echo.sleep [SECONDS]: takes its time, 1 second if it is not told otherwise.
seconds=${2-1}
case $seconds in
  '' | *[!0-9.]* | *.*.*)
    printf '{"error":true,"message":"the seconds must be a number","code":"BAD_SECONDS"}\n'
    exit 1
    ;;
esac
sleep "$seconds" && printf '%s\n' "$seconds"
