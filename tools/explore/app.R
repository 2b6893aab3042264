# The app that tools/explore-test drives: Rscript tools/explore/app.R PORT
port <- as.integer(commandArgs(TRUE))
print(shiny::runApp(mixguide::explore(), port = port, launch.browser = FALSE))
