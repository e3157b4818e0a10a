# echo.whoami: the user for whom the task runs; in quotes, so that `7` stays a text.
printf '"%s"\n' "$RUN_FOR_USER_ID"
