# The app that tools/explorer-test drives: Rscript tools/explorer/app.R PORT
port <- as.integer(commandArgs(TRUE))
print(shiny::runApp(mixguide::explorer(), port = port, launch.browser = FALSE))
