# Installs a build into an empty folder and uses what lies there, as its users do: both
# programs run, and another project builds the example with find_package(AlayaDB).
#
#   cmake -DBUILD=… -DWORK=… -DEXAMPLE=… -P install_test.cmake
cmake_minimum_required(VERSION 3.25)

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT status EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "${command}: ${status}\n${output}")
  endif()
endfunction()

set(prefix ${WORK}/prefix)
set(consumer ${WORK}/consumer)
file(REMOVE_RECURSE ${WORK})
file(MAKE_DIRECTORY ${consumer})

run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${prefix})
foreach(file bin/alayadb-server bin/alayactl include/alayadb/client/client.h
             share/alayadb/alayadb.toml share/alayadb/proto/alaya/v1/session_service.proto)
  if(NOT EXISTS ${prefix}/${file})
    message(FATAL_ERROR "${file} was not installed")
  endif()
endforeach()
run(${prefix}/bin/alayadb-server --check-config --config ${prefix}/share/alayadb/alayadb.toml)
run(${prefix}/bin/alayactl --help)

file(WRITE ${consumer}/CMakeLists.txt [[
cmake_minimum_required(VERSION 3.25)
project(Consumer LANGUAGES CXX)
set(CMAKE_CXX_STANDARD 20)
find_package(AlayaDB REQUIRED)
add_executable(example ${EXAMPLE})
target_link_libraries(example PRIVATE AlayaDB::client)
]])
run(${CMAKE_COMMAND} -S ${consumer} -B ${consumer}/build -DCMAKE_PREFIX_PATH=${prefix} -DEXAMPLE=${EXAMPLE})
run(${CMAKE_COMMAND} --build ${consumer}/build)

# Nobody listens there: a built program says so and ends.
execute_process(COMMAND ${consumer}/build/example unix:${WORK}/no-server
                RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(NOT status EQUAL 1 OR NOT output MATCHES "no server at")
  message(FATAL_ERROR "the example without a server: ${status}\n${output}")
endif()
